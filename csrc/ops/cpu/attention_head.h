// What causal_attention.cpp hands to the kernels of an instruction set, one head at a time.
#pragma once

#include <cstdint>

#include "../rows/scalar.h"

namespace gpt2x::cpu {

// T tokens of D channels; the rows of q, k and v stand `qkv_stride` elements apart, those of y `y_stride`.
struct HeadShape {
  int64_t T, D, qkv_stride, y_stride;
};

template <class T>
struct HeadForward {
  const T *q, *k, *v;
  T* y;
  rows::Accumulation<T>* lse;  // (T): log of the sum of e^score, which backward starts from
};

template <class T>
struct HeadBackward {
  const T *q, *k, *v, *y, *dy;
  const rows::Accumulation<T>* lse;
  T *dq, *dk, *dv;
};

// The kernels of one instruction set for tensors of T; `memory` has as many bytes as they say, aligned to 64.
template <class T>
struct AttentionKernels {
  int64_t (*forward_bytes)(const HeadShape&);
  void (*forward)(const HeadShape&, const HeadForward<T>&, void* memory);
  int64_t (*backward_bytes)(const HeadShape&);
  void (*backward)(const HeadShape&, const HeadBackward<T>&, void* memory);
};

// Each is there where GPT2X_X86_TARGETS (target.h) is 1; the caller asks the processor first.
template <class T>
AttentionKernels<T> avx2_attention();
template <class T>
AttentionKernels<T> avx512_attention();
AttentionKernels<rows::bfloat16> avx512_bf16_attention();  // AVX-512 with its dot products of bfloat16

}  // namespace gpt2x::cpu
