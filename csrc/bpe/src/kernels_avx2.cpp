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

/// The letters among 32 bytes' characters, of which the second bytes are given, too.
class HalfLetters {
 public:
  HalfLetters(__m256i bytes, __m256i second) : half_{bytes} {
    low_ = _mm256_and_si256(bytes, _mm256_set1_epi8(0x0F));
    const __m256i group = _mm256_and_si256(_mm256_srli_epi16(second, 3), _mm256_set1_epi8(7));
    bit_ = _mm256_shuffle_epi8(_mm256_set1_epi64x(static_cast<long long>(0x8040201008040201u)), group);
  }

  /// First bytes from `lead` on, 16 of them.
  [[nodiscard]] std::uint64_t of(std::uint8_t lead, const LetterGroups& groups) const {
    const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(groups.data()));
    const __m256i found = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), low_);
    const __m256i is_letter = _mm256_cmpeq_epi8(_mm256_and_si256(found, bit_), bit_);
    return half_.range(half_.bytes, static_cast<char>(lead), 16) & half_.mask(is_letter);
  }

 private:
  Half half_;
  __m256i low_;
  __m256i bit_;
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

  static LetterLeads letter_leads(const char* block) {
    const auto* halves = reinterpret_cast<const __m256i*>(block);
    const auto* seconds = reinterpret_cast<const __m256i*>(block + 1);
    const HalfLetters low(_mm256_loadu_si256(halves), _mm256_loadu_si256(seconds));
    const HalfLetters high(_mm256_loadu_si256(halves + 1), _mm256_loadu_si256(seconds + 1));
    const auto both = [&](std::uint8_t lead, const LetterGroups& groups) {
      return low.of(lead, groups) | high.of(lead, groups) << 32;
    };
    return {.of_two = both(0xC0, kLetterGroupsC) | both(0xD0, kLetterGroupsD),
            .of_three = both(0xE0, kLetterGroupsE)};
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
