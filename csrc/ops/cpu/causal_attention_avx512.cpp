// causal_attention for processors with AVX-512.
#include "target.h"

#if GPT2X_X86_TARGETS
#include <cmath>
#include <cstdint>
#include <cstring>

#include "attention_head.h"

GPT2X_BEGIN_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#include "attention_tiles.h"
GPT2X_END_TARGET

namespace gpt2x::cpu {

template <class T>
AttentionKernels<T> avx512_attention() {
  return attention_of<Plain<T>>();
}

template AttentionKernels<float> avx512_attention();
template AttentionKernels<double> avx512_attention();
template AttentionKernels<rows::bfloat16> avx512_attention();

}  // namespace gpt2x::cpu
#endif
