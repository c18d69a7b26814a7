// o200k's pattern (GPT-4o and later), whose alternatives are tried in this order at each place:
//
//   1
//   [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//   2
//   [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//   3  \p{N}{1,3}                          up to three digits
//   4   ?[^\s\p{L}\p{N}]+[\r\n/]*          anything else, with one blank before, all newlines and slashes
//   after 5  \s*[\r\n]+|\s+(?!\S)|\s+            white space: to its last newline; but for its last
//
// 1 and 2 are words, with any one character before them and a contraction after: first letters that can be
// upper case, then letters that can be lower case. Letters without case, and marks, can be either.
#include "scalar_split.hpp"

namespace gpt2x::bpe {
namespace {

using scalar::Character;

constexpr bool is_either(CharCategory category) {
  return category == CharCategory::kUncased || category == CharCategory::kMark;
}

constexpr bool is_upper(CharCategory category) {
  return category == CharCategory::kUpper || is_either(category);
}

constexpr bool is_lower(CharCategory category) {
  return category == CharCategory::kLower || is_either(category);
}

constexpr bool is_word(CharCategory category) {
  return category == CharCategory::kUpper || is_lower(category);
}

constexpr bool is_other(CharCategory category) {
  return class_of(category) == CharClass::kOther;
}

// The word that starts at `start`, or after the character before `start` that it takes along. A mark that an
// engine would take for that character gives the same word here, where it is the word's first: the upper part
// starts with it.
std::size_t word_end(std::string_view text, std::size_t start) {
  std::size_t end = start;         // of what can be upper case
  std::size_t either_end = start;  // of the last character there that can be lower case, too
  while (end < text.size()) {
    const Character character = scalar::character_at(text, end);
    if (!is_upper(character.category)) break;
    end += character.length;
    if (is_either(character.category)) either_end = end;
  }
  if (scalar::category_at(text, end) == CharCategory::kLower) {
    end = scalar::run_end(text, end, is_lower);
  } else if (either_end > start) {
    // Alternative 1 gives back what comes after; only where nothing can be lower case does alternative 2 take
    // all.
    end = either_end;
  }
  return end + scalar::contraction_length(text, end);
}

std::size_t punctuation_end(std::string_view text, std::size_t pos) {
  pos = scalar::run_end(text, pos, is_other);
  while (pos < text.size() && (scalar::is_newline(text[pos]) || text[pos] == '/')) ++pos;
  return pos;
}

}  // namespace

std::size_t next_piece_end_o200k(std::string_view text, std::size_t start) {
  const Character first = scalar::character_at(text, start);
  const std::size_t after = start + first.length;
  if (is_word(first.category)) return word_end(text, start);
  if (first.category == CharCategory::kNumber) return scalar::number_end(text, start);

  const CharCategory second = scalar::category_at(text, after);
  if (is_word(second) && !scalar::is_newline(text[start])) return word_end(text, after);
  if (is_other(first.category)) return punctuation_end(text, after);
  if (is_other(second) && text[start] == ' ') return punctuation_end(text, after);
  return scalar::white_space_end(text, start);
}

}  // namespace gpt2x::bpe
