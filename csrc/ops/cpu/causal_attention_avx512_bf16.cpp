// causal_attention of bfloat16 for processors with AVX-512 and its dot products of bfloat16 (Zen 4, Cooper
// Lake and later): an instruction multiplies 32 pairs and adds them up in 16 float32 sums.
#include "target.h"

#if GPT2X_X86_TARGETS
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 about its own intrinsics
#endif
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "attention_head.h"

GPT2X_BEGIN_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
#include "attention_tiles.h"

namespace gpt2x::cpu {
namespace {

// Two bfloat16 a unit, the first in the lower half.
struct Bf16Pairs {
  using Storage = rows::bfloat16;
  using W = float;
  using Unit = uint32_t;
  static constexpr int kPair = 2;
  static constexpr int kRows = 8;  // 8 × 2 sums in registers: the dot product takes 6 cycles, and 16 of them
  static constexpr int kVectors = 2;  // do not wait for one another

  GPT2X_HD static void multiply_add(Lanes<float>& sum, Unit a, const Unit* b) {
    sum = (Lanes<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(a)),
                                         (__m512bh)_mm512_loadu_si512(b));
  }

  GPT2X_HD static Unit unit(const Storage* pair, int64_t count) {
    return interleaved(pair, count > 1 ? pair + 1 : &kZero);
  }
  GPT2X_HD static Unit interleaved(const Storage* first, const Storage* second) {
    return static_cast<uint32_t>(*first) | static_cast<uint32_t>(*second) << 16;
  }

  GPT2X_HD static void store_row(const Lanes<float>& row, Unit* to) {
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)row);
    std::memcpy(to, &rounded, sizeof rounded);
  }
  GPT2X_HD static void store_interleaved(const Lanes<float>* rows, Unit* to) {
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)rows[0]));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)rows[1]));
    _mm512_storeu_si512(to, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }

 private:
  static constexpr Storage kZero{};
};

}  // namespace
}  // namespace gpt2x::cpu
GPT2X_END_TARGET

namespace gpt2x::cpu {

AttentionKernels<rows::bfloat16> avx512_bf16_attention() {
  return attention_of<Bf16Pairs>();
}

}  // namespace gpt2x::cpu
#endif
