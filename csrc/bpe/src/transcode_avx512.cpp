#include "transcode.hpp"

#if GPT2X_X86_TARGETS

#include <immintrin.h>

// Everything that the headers below include, before the target changes.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "gpt2x/bpe/internal/code_points.hpp"

GPT2X_BEGIN_TARGET("avx512f,avx512bw,avx512vl,avx512vbmi2,popcnt")

namespace gpt2x::bpe {
namespace {

constexpr std::size_t kGroup = 16;
constexpr std::size_t kGroupBytes = 64;  // one store, of which the first bytes count

// Each code point in 32 bits. (The forms with a mask of ones spare GCC 12 a false warning.)
inline __m512i load(const std::uint8_t* text) {
  return _mm512_maskz_cvtepu8_epi32(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(text)));
}
inline __m512i load(const char16_t* text) {
  return _mm512_maskz_cvtepu16_epi32(0xFFFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(text)));
}
inline __m512i load(const char32_t* text) {
  return _mm512_loadu_si512(text);
}

inline __m512i all(unsigned value) {
  return _mm512_set1_epi32(static_cast<int>(value));
}

/// Six bits of each code point from bit `kFrom` on (or those of them that are there), moved to bit `kTo`.
template <unsigned kFrom, unsigned kTo>
__m512i six_bits(__m512i code_points) {
  if constexpr (kFrom > kTo) {
    code_points = _mm512_maskz_srli_epi32(0xFFFF, code_points, kFrom - kTo);
  } else if constexpr (kFrom < kTo) {
    code_points = _mm512_maskz_slli_epi32(0xFFFF, code_points, kTo - kFrom);
  }
  return _mm512_and_si512(code_points, all(0x3Fu << kTo));
}

template <typename... Parts>
__m512i join(unsigned constant, Parts... parts) {
  __m512i joined = all(constant);
  ((joined = _mm512_or_si512(joined, parts)), ...);
  return joined;
}

/// Writes 16 code points; false if one of them is a surrogate. A character's bytes are made in its own 32
/// bits, first byte first, and those that it does not have are then squeezed out.
template <typename Char>
bool write_group(const Char* text, char*& out) {
  const __m512i points = load(text);
  const __mmask16 not_one = _mm512_cmpgt_epu32_mask(points, all(0x7F));
  if (not_one == 0) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_maskz_cvtepi32_epi8(0xFFFF, points));
    out += kGroup;
    return true;
  }
  const __m512i two = join(0x80C0, six_bits<6, 0>(points), six_bits<0, 8>(points));
  __m512i bytes = _mm512_mask_mov_epi32(points, not_one, two);
  __m512i kept = _mm512_mask_mov_epi32(all(0x80), not_one, all(0x8080));
  if constexpr (sizeof(Char) > 1) {
    const __mmask16 not_two = _mm512_cmpgt_epu32_mask(points, all(0x7FF));
    if (_mm512_mask_cmpeq_epi32_mask(not_two, _mm512_and_si512(points, all(~0x7FFu)), all(0xD800)) != 0)
      return false;
    const __m512i three =
        join(0x8080E0, six_bits<12, 0>(points), six_bits<6, 8>(points), six_bits<0, 16>(points));
    bytes = _mm512_mask_mov_epi32(bytes, not_two, three);
    kept = _mm512_mask_mov_epi32(kept, not_two, all(0x808080));
  }
  if constexpr (sizeof(Char) > 2) {
    const __mmask16 not_three = _mm512_cmpgt_epu32_mask(points, all(0xFFFF));
    const __m512i four = join(0x808080F0, six_bits<18, 0>(points), six_bits<12, 8>(points),
                              six_bits<6, 16>(points), six_bits<0, 24>(points));
    bytes = _mm512_mask_mov_epi32(bytes, not_three, four);
    kept = _mm512_mask_mov_epi32(kept, not_three, all(0x80808080));
  }
  const __mmask64 kept_bytes = _mm512_movepi8_mask(kept);
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi8(kept_bytes, bytes));
  out += std::popcount(static_cast<std::uint64_t>(kept_bytes));
  return true;
}

}  // namespace

template <typename Char>
std::size_t write_groups(std::span<const Char> text, char*& out) {
  constexpr std::size_t kLeast = kGroupBytes / kMaxUtf8Bytes<Char> + 1;
  static_assert(kLeast >= kGroup);
  std::size_t done = 0;
  while (text.size() - done >= kLeast && write_group(text.data() + done, out)) done += kGroup;
  return done;
}

template std::size_t write_groups(std::span<const std::uint8_t>, char*&);
template std::size_t write_groups(std::span<const char16_t>, char*&);
template std::size_t write_groups(std::span<const char32_t>, char*&);

}  // namespace gpt2x::bpe
GPT2X_END_TARGET

namespace gpt2x::bpe {

bool can_write_groups() {
  static const bool can = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512vbmi2");
  return can;
}

}  // namespace gpt2x::bpe

#endif
