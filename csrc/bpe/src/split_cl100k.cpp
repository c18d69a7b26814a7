// cl100k's pattern (GPT-3.5 and GPT-4) and two that are made after it, whose alternatives are tried in this
// order at each place:
//
//   1  '(?i:[sdmt]|ll|ve|re)               a contraction
//   2  [^\r\n\p{L}\p{N}]?+\p{L}++          letters, with any one character before them
//   3  \p{N}{1,3}+                         up to three digits
//   4   ?[^\s\p{L}\p{N}]++[\r\n]*+         anything else, with one blank before and all newlines after
//   5  \s++$|\s*[\r\n]|\s+(?!\S)|\s        white space: to the text's end; to its last newline; but for its
//                                         last
//
// llama3 has no `\s++$`, so that white space at the end of a text ends after its last newline, too. qwen2 is
// llama3 with `\p{N}` for 3. Both spell the rest otherwise, to the same effect:
//
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
//   |\s*[\r\n]+|\s+(?!\S)|\s+
#include "scalar_split.hpp"

namespace gpt2x::bpe {
namespace {

using scalar::Character;

constexpr bool is_letter(CharCategory category) {
  return class_of(category) == CharClass::kLetter;
}

constexpr bool is_other(CharCategory category) {
  return class_of(category) == CharClass::kOther;
}

std::size_t letters_end(std::string_view text, std::size_t pos) {
  return scalar::run_end(text, pos, is_letter);
}

std::size_t punctuation_end(std::string_view text, std::size_t pos) {
  pos = scalar::run_end(text, pos, is_other);
  while (pos < text.size() && scalar::is_newline(text[pos])) ++pos;
  return pos;
}

std::size_t white_space_to_text_end(std::string_view text, std::size_t start) {
  const scalar::SpaceRun run = scalar::space_run(text, start);
  if (run.end == text.size()) return run.end;
  if (run.newline_end > start) return run.newline_end;
  return scalar::space_end(text, start, run);
}

/// What tells the three patterns apart: how many digits a number has, and where white space ends.
template <int kMaxDigits, std::size_t (*kWhiteSpaceEnd)(std::string_view, std::size_t)>
std::size_t piece_end(std::string_view text, std::size_t start) {
  const Character first = scalar::character_at(text, start);
  const std::size_t after = start + first.length;
  if (is_letter(first.category)) return letters_end(text, after);
  if (first.category == CharCategory::kNumber) return scalar::number_end<kMaxDigits>(text, start);

  if (const std::size_t length = scalar::contraction_length(text, start)) return start + length;
  const CharCategory second = scalar::category_at(text, after);
  if (is_letter(second) && !scalar::is_newline(text[start])) return letters_end(text, after);
  if (is_other(first.category)) return punctuation_end(text, after);
  if (is_other(second) && text[start] == ' ') return punctuation_end(text, after);
  return kWhiteSpaceEnd(text, start);
}

}  // namespace

std::size_t next_piece_end_cl100k(std::string_view text, std::size_t start) {
  return piece_end<3, white_space_to_text_end>(text, start);
}

std::size_t next_piece_end_llama3(std::string_view text, std::size_t start) {
  return piece_end<3, scalar::white_space_end>(text, start);
}

std::size_t next_piece_end_qwen2(std::string_view text, std::size_t start) {
  return piece_end<1, scalar::white_space_end>(text, start);
}

}  // namespace gpt2x::bpe
