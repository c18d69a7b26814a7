// The table behind char_category, for loops that look up character after character.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gpt2x/bpe/internal/unicode.hpp"

namespace gpt2x::bpe {

inline constexpr unsigned kCharBlockShift = 8;
inline constexpr unsigned kCharBlockBytes = 128;

// Two stages: blocks of code points that are alike are stored once. Four bits for each code point.
extern const std::uint8_t kCharBlockNumbers[];
extern const std::uint8_t kCharBlocks[];

/// A CharCategory as a number; its two low bits are the CharClass.
[[gnu::always_inline]] inline unsigned category_bits(char32_t code_point) {
  const std::size_t block = kCharBlockNumbers[code_point >> kCharBlockShift];
  const std::size_t place = code_point & ((1u << kCharBlockShift) - 1);
  return kCharBlocks[block * kCharBlockBytes + place / 2] >> 4 * (place % 2) & 15u;
}

}  // namespace gpt2x::bpe
