// causal_attention for processors with AVX2 and FMA.
#include "target.h"

#if GPT2X_X86_TARGETS
#include <cmath>
#include <cstdint>
#include <cstring>

#include "attention_head.h"

GPT2X_BEGIN_TARGET("avx2,fma")
#include "attention_tiles.h"
GPT2X_END_TARGET

namespace gpt2x::cpu {

template <class T>
AttentionKernels<T> avx2_attention() {
  return attention_of<Plain<T>>();
}

template AttentionKernels<float> avx2_attention();
template AttentionKernels<double> avx2_attention();
template AttentionKernels<rows::bfloat16> avx2_attention();

}  // namespace gpt2x::cpu
#endif
