// GPT-2's pattern, 64 bytes at a time.
//
// Whether a piece starts at a character depends on the classes of a few neighbours only. So a block of text
// becomes one 64-bit mask for each class (bit i: byte i is a letter, ...), and the pattern becomes a few
// shifts and logical operations on masks:
//
// - a letter, number or other character starts a piece unless the character before is of the same class, or
//   is a blank (` ?\p{L}+` and its like take one blank along);
// - white space starts a piece if something else comes before it (a run of white space starts), or if
//   something else follows it (`\s+(?!\S)` keeps the last character back);
// - a contraction (`'s`, `'ll`) that starts a piece also ends one: a piece starts behind it.
//
// A character of several bytes has its class in all its bytes, so that the byte before a character tells the
// class of the character before; only first bytes can start a piece.
//
// How the masks of ASCII classes come about differs between processors: `Classify` says it. Everything here
// is in an anonymous namespace since it is compiled several times (see target.hpp).
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "char_table.hpp"
#include "contraction.hpp"
#include "gpt2x/bpe/internal/splitter.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"

namespace gpt2x::bpe {
namespace {

constexpr std::size_t kBlock = 64;

/// The ASCII characters of a block by class, and what is not ASCII.
struct BlockMasks {
  std::uint64_t letter;
  std::uint64_t number;
  std::uint64_t white;
  std::uint64_t blank;
  std::uint64_t apostrophe;
  std::uint64_t non_ascii;     // bytes of characters that are not ASCII
  std::uint64_t continuation;  // of these, the ones behind the first

  void keep(std::uint64_t valid) {
    for (std::uint64_t* mask : {&letter, &number, &white, &blank, &apostrophe, &non_ascii, &continuation}) {
      *mask &= valid;
    }
  }
};

inline bool is_ascii_white(std::uint8_t byte) {
  return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/// The character at `at`, in well-formed UTF-8.
inline Utf8Char decode_wellformed(const char* at) {
  const auto byte = [&](int i) { return static_cast<std::uint8_t>(at[i]); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3Fu), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu), 4};
}

/// Whether a character that is no white space stands at `pos`; false at the text's end and inside a
/// character.
inline bool is_nonwhite_at(std::string_view text, std::size_t pos) {
  if (pos >= text.size()) return false;
  const auto byte = static_cast<std::uint8_t>(text[pos]);
  if (byte < 0x80) return !is_ascii_white(byte);
  if ((byte & 0xC0) == 0x80) return false;
  const char32_t code_point = decode_wellformed(text.data() + pos).code_point;
  return static_cast<CharClass>(category_bits(code_point) & 3) != CharClass::kSpace;
}

/// First bytes of characters of which two bytes tell that they are letters (kLetterGroups…).
struct LetterLeads {
  std::uint64_t of_two;    // characters of two bytes
  std::uint64_t of_three;  // of three
};

/// Adds the characters that are not ASCII to the masks of their classes. Returns those of them that are white
/// space with something else behind.
template <typename Classify>
inline std::uint64_t classify_non_ascii(BlockMasks& masks, const BlockCarry& carry, std::string_view text,
                                        std::size_t pos) {
  // The rest of a character that began in the block before.
  const std::uint64_t rest =
      masks.continuation & ((std::uint64_t{1} << std::countr_one(masks.continuation & 7)) - 1);
  if (carry.letter) masks.letter |= rest;
  if (carry.number) masks.number |= rest;
  if (carry.white) masks.white |= rest;

  std::uint64_t leads = masks.non_ascii & ~masks.continuation;
  if constexpr (requires { Classify::letter_leads(text.data()); }) {
    if (text.size() - pos > kBlock) {  // the second byte of the last character can be looked at, too
      const LetterLeads letters = Classify::letter_leads(text.data() + pos);
      const std::uint64_t first_two = letters.of_two | letters.of_three;
      masks.letter |= first_two | first_two << 1 | letters.of_three << 2;
      leads &= ~first_two;
    }
  }
  std::uint64_t before_nonwhite = 0;
  for (std::uint64_t left = leads; left != 0; left &= left - 1) {
    const int bit = std::countr_zero(left);
    const Utf8Char character = decode_wellformed(text.data() + pos + bit);
    const std::uint64_t bytes = ((std::uint64_t{1} << character.length) - 1) << bit;
    const auto char_class = static_cast<CharClass>(category_bits(character.code_point) & 3);
    // Which class it is cannot be predicted, but white space of several bytes is rare.
    masks.letter |= bytes & (std::uint64_t{char_class != CharClass::kLetter} - 1);
    masks.number |= bytes & (std::uint64_t{char_class != CharClass::kNumber} - 1);
    if (char_class == CharClass::kSpace) [[unlikely]] {
      masks.white |= bytes;
      if (is_nonwhite_at(text, pos + bit + character.length)) before_nonwhite |= std::uint64_t{1} << bit;
    }
  }
  return before_nonwhite;
}

/// The letters of a block that make a contraction of an apostrophe before them.
struct ContractionMasks {
  std::uint64_t single;  // s, t, m, d
  std::uint64_t pair;    // the first of ll, ve, re; not known for the last byte

  static ContractionMasks of(std::uint64_t stmd, std::uint64_t l, std::uint64_t v_or_r, std::uint64_t e) {
    return {stmd, (l & l >> 1) | (v_or_r & e >> 1)};
  }
};

/// Moves piece starts from behind the apostrophe to behind the contraction, for apostrophes that start one.
/// The last three bytes of a block are left to apply_contractions.
inline std::uint64_t apply_contractions(std::uint64_t starts, std::uint64_t apostrophes,
                                        const ContractionMasks& letters) {
  const std::uint64_t candidates = apostrophes & starts & ~std::uint64_t{0} >> 3;
  const std::uint64_t single = candidates & letters.single >> 1;
  const std::uint64_t pair = candidates & letters.pair >> 1;
  return (starts & ~((single | pair) << 1)) | single << 2 | pair << 3;
}

/// The same one by one, also where a contraction reaches into the next block.
inline std::uint64_t apply_contractions(std::uint64_t starts, std::uint64_t apostrophes, BlockCarry& carry,
                                        std::string_view text, std::size_t pos) {
  for (std::uint64_t left = apostrophes & starts; left != 0; left &= left - 1) {
    const int bit = std::countr_zero(left);
    const std::size_t length = gpt2_contraction_length(text, pos + bit);
    if (length == 0) continue;
    const auto set_or_carry = [&](std::size_t at, std::uint64_t& here, std::uint64_t& next) {
      (at < kBlock ? here : next) |= std::uint64_t{1} << at % kBlock;
    };
    std::uint64_t inside = 0;
    set_or_carry(bit + 1, inside, carry.inside_contraction);
    starts &= ~inside;
    if (pos + bit + length < text.size()) set_or_carry(bit + length, starts, carry.behind_contraction);
  }
  return starts;
}

/// Piece starts in the block at `pos` (bit i: byte pos + i).
template <typename Classify>
inline std::uint64_t starts_in_block(BlockCarry& carry, std::string_view text, std::size_t pos) {
  std::uint64_t valid = ~std::uint64_t{0};
  BlockMasks masks;
  if (text.size() - pos >= kBlock) {
    masks = Classify::masks(text.data() + pos);
  } else {
    char padded[kBlock] = {};
    std::memcpy(padded, text.data() + pos, text.size() - pos);
    valid = (std::uint64_t{1} << (text.size() - pos)) - 1;
    masks = Classify::masks(padded);
    masks.keep(valid);
  }

  std::uint64_t before_nonwhite = 0;
  if (masks.non_ascii != 0) [[unlikely]]
    before_nonwhite = classify_non_ascii<Classify>(masks, carry, text, pos);

  const std::uint64_t other = valid & ~(masks.letter | masks.number | masks.white);
  const std::uint64_t nonwhite = valid & ~masks.white;
  const std::uint64_t same_class = (masks.letter & (masks.letter << 1 | carry.letter)) |
                                   (masks.number & (masks.number << 1 | carry.number)) |
                                   (other & (other << 1 | carry.other));
  const std::uint64_t after_blank = masks.blank << 1 | carry.blank;
  before_nonwhite |= nonwhite >> 1 | std::uint64_t{is_nonwhite_at(text, pos + kBlock)} << 63;

  std::uint64_t starts = (nonwhite & ~same_class & ~after_blank) |
                         (masks.white & (~(masks.white << 1 | carry.white) | before_nonwhite));
  starts &= ~masks.continuation;

  carry.letter = masks.letter >> 63;
  carry.number = masks.number >> 63;
  carry.other = other >> 63;
  carry.white = masks.white >> 63;
  carry.blank = masks.blank >> 63;

  starts = (starts & ~carry.inside_contraction) | carry.behind_contraction;
  carry.inside_contraction = carry.behind_contraction = 0;
  if ((masks.apostrophe & starts) != 0) {
    std::uint64_t left = masks.apostrophe;
    if constexpr (requires { Classify::contractions(text.data()); }) {
      if (valid == ~std::uint64_t{0}) {
        starts = apply_contractions(starts, left, Classify::contractions(text.data() + pos));
        left &= ~(~std::uint64_t{0} >> 3);
      }
    }
    starts = apply_contractions(starts, left, carry, text, pos);
  }
  return starts & valid;
}

/// Writes the positions of the set bits, each plus `base`. May write up to 7 values more than it returns;
/// the loop runs in steps, so that its length is easier to predict.
inline std::size_t write_positions(std::uint64_t mask, std::uint32_t base, std::uint32_t* positions) {
  constexpr int kStep = 8;
  const int count = std::popcount(mask);
  for (int written = 0; written < count; written += kStep) {
    for (int i = 0; i < kStep; ++i) {
      positions[written + i] = base + static_cast<std::uint32_t>(std::countr_zero(mask));
      mask &= mask - 1;
    }
  }
  return static_cast<std::size_t>(count);
}

template <typename Classify>
std::size_t find_starts(BlockCarry& carry, std::string_view text, std::size_t from, std::size_t to,
                        std::uint32_t* starts) {
  std::size_t count = 0;
  for (std::size_t pos = from; pos < to; pos += kBlock) {
    const std::uint64_t mask = starts_in_block<Classify>(carry, text, pos);
    count += write_positions(mask, static_cast<std::uint32_t>(pos - from), starts + count);
  }
  return count;
}

}  // namespace
}  // namespace gpt2x::bpe
