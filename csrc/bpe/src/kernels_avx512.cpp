#include "target.hpp"

#if GPT2X_X86_TARGETS

#include <immintrin.h>

// Everything that the headers below include, before the target changes.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "char_table.hpp"
#include "contraction.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "kernels.hpp"

GPT2X_BEGIN_TARGET("avx512f,avx512bw,avx512vl,avx2,bmi,bmi2,lzcnt,popcnt")
#include "split_blocks.hpp"
#include "word_loops.hpp"
#include "word_merger.hpp"

namespace gpt2x::bpe {
namespace {

struct Avx512Classify {
  /// Bytes from `low` on, `count` of them.
  static std::uint64_t range(__m512i bytes, char low, char count) {
    const __m512i above = _mm512_sub_epi8(bytes, _mm512_set1_epi8(low));
    return _mm512_cmplt_epu8_mask(above, _mm512_set1_epi8(count));
  }

  static std::uint64_t equal(__m512i bytes, char byte) {
    return _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte));
  }

  static BlockMasks masks(const char* block) {
    const __m512i bytes = _mm512_loadu_si512(block);
    const std::uint64_t blank = equal(bytes, ' ');
    const std::uint64_t non_ascii = _mm512_movepi8_mask(bytes);
    return {
        .letter = range(_mm512_or_si512(bytes, _mm512_set1_epi8(0x20)), 'a', 26),
        .number = range(bytes, '0', 10),
        .white = range(bytes, '\t', 5) | blank,
        .blank = blank,
        .apostrophe = equal(bytes, '\''),
        .non_ascii = non_ascii,
        .continuation = non_ascii == 0 ? 0 : range(bytes, static_cast<char>(0x80), 0x40),
    };
  }

  static ContractionMasks contractions(const char* block) {
    const __m512i bytes = _mm512_loadu_si512(block);
    return ContractionMasks::of(equal(bytes, 's') | equal(bytes, 't') | equal(bytes, 'm') | equal(bytes, 'd'),
                                equal(bytes, 'l'), equal(bytes, 'v') | equal(bytes, 'r'), equal(bytes, 'e'));
  }

  /// The same 16 bytes four times, to be looked up by four bits.
  static __m512i table(const std::uint8_t* entries) {
    const auto* const lane = reinterpret_cast<const __m128i*>(entries);
    return _mm512_maskz_broadcast_i32x4(0xFFFF, _mm_loadu_si128(lane));
  }

  static LetterLeads letter_leads(const char* block) {
    const __m512i bytes = _mm512_loadu_si512(block);
    const __m512i second = _mm512_loadu_si512(block + 1);
    const __m512i low = _mm512_and_si512(bytes, _mm512_set1_epi8(0x0F));
    const __m512i group = _mm512_and_si512(_mm512_srli_epi16(second, 3), _mm512_set1_epi8(7));
    const __m512i bit =
        _mm512_shuffle_epi8(_mm512_set1_epi64(static_cast<long long>(0x8040201008040201u)), group);
    const auto letters = [&](std::uint64_t leads, const LetterGroups& groups) {
      return leads & _mm512_test_epi8_mask(_mm512_shuffle_epi8(table(groups.data()), low), bit);
    };
    return {.of_two = letters(range(bytes, static_cast<char>(0xC0), 16), kLetterGroupsC) |
                      letters(range(bytes, static_cast<char>(0xD0), 16), kLetterGroupsD),
            .of_three = letters(range(bytes, static_cast<char>(0xE0), 16), kLetterGroupsE)};
  }
};

}  // namespace

const Kernels kAvx512Kernels{"AVX-512", find_starts<Avx512Classify>, merge_words, kWordKernels<std::uint16_t>,
                             kWordKernels<std::uint32_t>};

}  // namespace gpt2x::bpe
GPT2X_END_TARGET

#endif
