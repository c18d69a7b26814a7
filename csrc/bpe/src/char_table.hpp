// The table behind char_category, for loops that look up character after character.
#pragma once

#include <array>
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

/// Where the first two bytes of a character tell that it is a letter: bit g of the entry for the lead byte's
/// low half stands for second bytes 0x80 + 8g to 0x87 + 8g. Nearly all of Latin, Greek, Cyrillic, Hebrew,
/// Arabic, Chinese and Korean are in these groups.
using LetterGroups = std::array<std::uint8_t, 16>;
inline constexpr LetterGroups kLetterGroupsC{0x00, 0x00, 0x00, 0xBB, 0xFF, 0xFF, 0xFF, 0xFF,
                                             0xFF, 0xFF, 0xFF, 0x02, 0x00, 0x00, 0xEC, 0xBF};
inline constexpr LetterGroups kLetterGroupsD{0xFF, 0xFF, 0xFC, 0xFF, 0xBF, 0xF3, 0x01, 0x1C,
                                             0xF0, 0x81, 0xFF, 0x03, 0x38, 0xFC, 0x0F, 0x1C};
inline constexpr LetterGroups kLetterGroupsE{0x00, 0x00, 0x00, 0xFC, 0xBF, 0xFF, 0xFF, 0xFF,
                                             0xFF, 0xFF, 0xC3, 0xFF, 0xFF, 0x07, 0x00, 0x00};

}  // namespace gpt2x::bpe
