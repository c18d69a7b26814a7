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

GPT2X_BEGIN_TARGET("avx2,bmi,bmi2,lzcnt,popcnt")
#include "split_blocks.hpp"
#include "word_loops.hpp"
#include "word_merger.hpp"

namespace gpt2x::bpe {
namespace {

struct Half {
  __m256i bytes;

  [[nodiscard]] std::uint64_t mask(__m256i answer) const {
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(answer));
  }
  /// Bytes from `low` on, `count` of them.
  [[nodiscard]] std::uint64_t range(__m256i of, char low, char count) const {
    const __m256i above = _mm256_sub_epi8(of, _mm256_set1_epi8(low));
    const __m256i last = _mm256_set1_epi8(static_cast<char>(count - 1));
    return mask(_mm256_cmpeq_epi8(_mm256_min_epu8(above, last), above));
  }
  [[nodiscard]] std::uint64_t equal(char byte) const {
    return mask(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte)));
  }

  [[nodiscard]] BlockMasks masks() const {
    const std::uint64_t blank = equal(' ');
    const std::uint64_t non_ascii = mask(bytes);
    return {
        .letter = range(_mm256_or_si256(bytes, _mm256_set1_epi8(0x20)), 'a', 26),
        .number = range(bytes, '0', 10),
        .white = range(bytes, '\t', 5) | blank,
        .blank = blank,
        .apostrophe = equal('\''),
        .non_ascii = non_ascii,
        .continuation = non_ascii == 0 ? 0 : range(bytes, static_cast<char>(0x80), 0x40),
    };
  }
};

struct Avx2Classify {
  static BlockMasks masks(const char* block) {
    const auto* halves = reinterpret_cast<const __m256i*>(block);
    const BlockMasks low = Half{_mm256_loadu_si256(halves)}.masks();
    const BlockMasks high = Half{_mm256_loadu_si256(halves + 1)}.masks();
    return {
        .letter = low.letter | high.letter << 32,
        .number = low.number | high.number << 32,
        .white = low.white | high.white << 32,
        .blank = low.blank | high.blank << 32,
        .apostrophe = low.apostrophe | high.apostrophe << 32,
        .non_ascii = low.non_ascii | high.non_ascii << 32,
        .continuation = low.continuation | high.continuation << 32,
    };
  }

  static std::uint64_t equal(const Half& low, const Half& high, char byte) {
    return low.equal(byte) | high.equal(byte) << 32;
  }

  static ContractionMasks contractions(const char* block) {
    const auto* halves = reinterpret_cast<const __m256i*>(block);
    const Half low{_mm256_loadu_si256(halves)};
    const Half high{_mm256_loadu_si256(halves + 1)};
    return ContractionMasks::of(
        equal(low, high, 's') | equal(low, high, 't') | equal(low, high, 'm') | equal(low, high, 'd'),
        equal(low, high, 'l'), equal(low, high, 'v') | equal(low, high, 'r'), equal(low, high, 'e'));
  }
};

}  // namespace

const Kernels kAvx2Kernels{"AVX2", find_starts<Avx2Classify>, merge_words, kWordKernels<std::uint16_t>,
                           kWordKernels<std::uint32_t>};

}  // namespace gpt2x::bpe
GPT2X_END_TARGET

#endif
