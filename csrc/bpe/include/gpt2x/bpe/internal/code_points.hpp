// Texts that are not valid UTF-8 in memory: arrays of code points, as Python holds its strings.
#pragma once

#include <cstddef>
#include <span>

namespace gpt2x::bpe {

/// The most bytes that one code point of this type has in UTF-8. A surrogate pair has 4, two halves with 2.
template <typename Char>
inline constexpr std::size_t kMaxUtf8Bytes = sizeof(Char) == 1   ? 2
                                             : sizeof(Char) == 2 ? 3
                                                                 : 4;

/// Writes code points as UTF-8 to `out`, a buffer for the most that there may be, and returns how many
/// bytes. Surrogates that make a pair are joined, others become U+FFFD. `Char` is std::uint8_t (Latin-1),
/// char16_t or char32_t; values above U+10FFFF must not occur.
template <typename Char>
std::size_t to_utf8(std::span<const Char> text, char* out);

/// Whether the code point is the first half of a surrogate pair.
[[nodiscard]] constexpr bool is_high_surrogate(char32_t code_point) {
  return code_point >= 0xD800 && code_point < 0xDC00;
}

/// Whether it is the second half.
[[nodiscard]] constexpr bool is_low_surrogate(char32_t code_point) {
  return code_point >= 0xDC00 && code_point < 0xE000;
}

}  // namespace gpt2x::bpe
