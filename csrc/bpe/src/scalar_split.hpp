// Splitting one character at a time: the patterns that are split so, and what they have in common.
//
// Each pattern is a regular expression, and each function here is what a backtracking engine ends up with for
// a part of it, found in one pass. A run of characters is passed over at most twice, so splitting stays
// linear.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gpt2x/bpe/internal/unicode.hpp"

namespace gpt2x::bpe {

/// Where the piece that starts at `start` ends; `start` must be inside the text.
std::size_t next_piece_end_cl100k(std::string_view text, std::size_t start);
std::size_t next_piece_end_o200k(std::string_view text, std::size_t start);
std::size_t next_piece_end_llama3(std::string_view text, std::size_t start);
std::size_t next_piece_end_qwen2(std::string_view text, std::size_t start);
std::size_t next_piece_end_deepseek(std::string_view text, std::size_t start);

namespace scalar {

struct Character {
  CharCategory category;
  std::size_t length;
};

constexpr CharCategory ascii_category(unsigned byte) {
  if (byte >= 'a' && byte <= 'z') return CharCategory::kLower;
  if (byte >= 'A' && byte <= 'Z') return CharCategory::kUpper;
  if (byte >= '0' && byte <= '9') return CharCategory::kNumber;
  if (byte == ' ' || (byte >= '\t' && byte <= '\r')) return CharCategory::kSpace;
  return byte > ' ' && byte < 0x7F ? CharCategory::kPunctuation : CharCategory::kOther;
}

inline constexpr auto kAsciiCategories = [] {
  std::array<CharCategory, 128> categories{};
  for (unsigned byte = 0; byte < 128; ++byte) categories[byte] = ascii_category(byte);
  return categories;
}();

/// The character at `pos`, which must be inside the text: one load for ASCII, the table for the rest.
inline Character character_at(std::string_view text, std::size_t pos) {
  const auto byte = static_cast<std::uint8_t>(text[pos]);
  if (byte < 0x80) [[likely]]
    return {kAsciiCategories[byte], 1};
  const Utf8Char character = decode_utf8(text, pos);
  return {char_category(character.code_point), character.length};
}

/// The category at `pos`; the text's end counts as white space, which nothing joins either.
inline CharCategory category_at(std::string_view text, std::size_t pos) {
  return pos < text.size() ? character_at(text, pos).category : CharCategory::kSpace;
}

/// Where the run of characters that reaches `pos` ends: the first whose category `belongs` denies.
template <typename Predicate>
std::size_t run_end(std::string_view text, std::size_t pos, Predicate belongs) {
  while (pos < text.size()) {
    const Character character = character_at(text, pos);
    if (!belongs(character.category)) break;
    pos += character.length;
  }
  return pos;
}

inline bool is_newline(char byte) {
  return byte == '\r' || byte == '\n';
}

/// `\p{N}{1,kMaxDigits}`: where the number at `start` ends.
template <int kMaxDigits = 3>
std::size_t number_end(std::string_view text, std::size_t start) {
  std::size_t pos = start;
  for (int digits = 0; digits < kMaxDigits && category_at(text, pos) == CharCategory::kNumber; ++digits) {
    pos += character_at(text, pos).length;
  }
  return pos;
}

/// `'(?i:[sdmt]|ll|ve|re)`: how many bytes the contraction at `pos` has, 0 if there is none. Ignoring case,
/// the long s (U+017F) is an s.
inline std::size_t contraction_length(std::string_view text, std::size_t pos) {
  if (pos >= text.size() || text[pos] != '\'') return 0;
  const std::string_view rest = text.substr(pos + 1, 2);
  if (rest.empty()) return 0;
  const auto lower = [](char byte) { return static_cast<char>(byte | 0x20); };
  const char first = lower(rest[0]);
  if (first == 's' || first == 'd' || first == 'm' || first == 't') return 2;
  if (rest.size() < 2) return 0;
  const char second = lower(rest[1]);
  const bool two_letters =
      (first == 'l' && second == 'l') || ((first == 'v' || first == 'r') && second == 'e');
  return two_letters || rest == "\u017f" ? 3 : 0;
}

/// A run of white space, and the two places inside it where a piece may end.
struct SpaceRun {
  std::size_t end;
  std::size_t last_start;   ///< where its last character starts
  std::size_t newline_end;  ///< after its last CR or LF; its start, if it has none
};

inline SpaceRun space_run(std::string_view text, std::size_t start) {
  SpaceRun run{start, start, start};
  while (run.end < text.size()) {
    const Character character = character_at(text, run.end);
    if (character.category != CharCategory::kSpace) break;
    run.last_start = run.end;
    run.end += character.length;
    if (is_newline(text[run.last_start])) run.newline_end = run.end;
  }
  return run;
}

/// `\s+(?!\S)|\s`: the last character is kept back for the piece that follows, unless nothing follows, or the
/// run has only that one.
inline std::size_t space_end(std::string_view text, std::size_t start, const SpaceRun& run) {
  return run.end == text.size() || run.last_start == start ? run.end : run.last_start;
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`: to the last newline, if there is one, also where the text ends.
inline std::size_t white_space_end(std::string_view text, std::size_t start) {
  const SpaceRun run = space_run(text, start);
  return run.newline_end > start ? run.newline_end : space_end(text, start, run);
}

/// Five places where all of these patterns start a piece, whatever else the text has:
/// - white space after a letter or a number: no alternative goes on from one into the other;
/// - white space but CR and LF after anything else: punctuation takes only those two along;
/// - what is not white space after CR or LF: a piece of white space ends with the run's last newline, and the
///   newlines after punctuation go on with nothing but themselves and, in o200k, the slash;
/// - a number after what is neither white space nor a number, and such a character after a number: pieces of
///   numbers have nothing else in them;
/// - what is no letter, mark or apostrophe after a letter: words go on with nothing else.
/// What ends there does not ask what follows: it would end with the text, too.
inline std::size_t find_safe_cut(std::string_view text, std::size_t from) {
  for (std::size_t pos = std::max<std::size_t>(from, 1); pos < text.size(); ++pos) {
    if (!starts_character(text, pos)) continue;
    const CharCategory category = category_at(text, pos);
    const CharCategory before = char_category(decode_utf8_before(text, pos).code_point);
    const CharClass class_before = class_of(before);
    if (is_newline(text[pos - 1])) {
      if (text[pos] != '/' && category != CharCategory::kSpace) return pos;
    } else if (category == CharCategory::kSpace) {
      const bool word = class_before == CharClass::kLetter || class_before == CharClass::kNumber;
      if (word || (class_before == CharClass::kOther && !is_newline(text[pos]))) return pos;
    } else if (before != CharCategory::kSpace) {
      if ((category == CharCategory::kNumber) != (before == CharCategory::kNumber)) return pos;
      const bool ends_word = class_of(category) == CharClass::kOther && category != CharCategory::kMark;
      if (class_before == CharClass::kLetter && ends_word && text[pos] != '\'') return pos;
    }
  }
  return text.size();
}

}  // namespace scalar
}  // namespace gpt2x::bpe
