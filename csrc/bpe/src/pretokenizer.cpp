#include "gpt2x/bpe/pretokenizer.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "contraction.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "scalar_split.hpp"

namespace gpt2x::bpe {
namespace {

struct Character {
  CharClass char_class;
  std::size_t length;
};

constexpr CharClass ascii_class(unsigned byte) {
  const unsigned lower = byte | 0x20;
  if (lower >= 'a' && lower <= 'z') return CharClass::kLetter;
  if (byte >= '0' && byte <= '9') return CharClass::kNumber;
  if (byte == ' ' || (byte >= '\t' && byte <= '\r')) return CharClass::kSpace;
  return CharClass::kOther;
}

constexpr auto kAsciiClasses = [] {
  std::array<CharClass, 128> classes{};
  for (unsigned byte = 0; byte < 128; ++byte) classes[byte] = ascii_class(byte);
  return classes;
}();

Character classify(Utf8Char character) {
  return {char_class(character.code_point), character.length};
}

// One load for ASCII, which is nearly all of English; the table of all characters for the rest.
inline Character character_at(std::string_view text, std::size_t pos) {
  const auto byte = static_cast<std::uint8_t>(text[pos]);
  if (byte < 0x80) [[likely]]
    return {kAsciiClasses[byte], 1};
  return classify(decode_utf8(text, pos));
}

// Where the run of characters of one class that reaches `pos` ends.
template <CharClass kClass>
std::size_t run_end(std::string_view text, std::size_t pos) {
  while (pos < text.size()) {
    const Character character = character_at(text, pos);
    if (character.char_class != kClass) break;
    pos += character.length;
  }
  return pos;
}

// `\s+(?!\S)|\s+`: a run of white space keeps back its last character for the piece that follows, unless
// nothing follows, or the run has only that one.
std::size_t space_end(std::string_view text, std::size_t start) {
  std::size_t last = start;
  std::size_t pos = start;
  while (pos < text.size()) {
    const Character character = character_at(text, pos);
    if (character.char_class != CharClass::kSpace) return last > start ? last : pos;
    last = pos;
    pos += character.length;
  }
  return pos;
}

std::size_t gpt2_piece_end(std::string_view text, std::size_t start) {
  if (text[start] == '\'') {
    if (const std::size_t length = gpt2_contraction_length(text, start)) return start + length;
  }

  std::size_t pos = start;
  Character first = character_at(text, pos);
  if (text[start] == ' ' && start + 1 < text.size()) {  // ` ?`: one blank goes with what follows
    const Character second = character_at(text, start + 1);
    if (second.char_class != CharClass::kSpace) {
      first = second;
      pos = start + 1;
    }
  }
  pos += first.length;
  switch (first.char_class) {
    case CharClass::kLetter:
      return run_end<CharClass::kLetter>(text, pos);
    case CharClass::kNumber:
      return run_end<CharClass::kNumber>(text, pos);
    case CharClass::kOther:
      return run_end<CharClass::kOther>(text, pos);
    case CharClass::kSpace:
      break;
  }
  return space_end(text, start);
}

// Writes the ends of the pieces from `start` on, one call of `kPieceEnd` for each.
template <std::size_t (*kPieceEnd)(std::string_view, std::size_t)>
std::size_t fill_ends(std::string_view text, std::size_t start, std::span<std::size_t> ends) {
  std::size_t num_ends = 0;
  for (std::size_t pos = start; pos < text.size() && num_ends < ends.size();) {
    pos = kPieceEnd(text, pos);
    ends[num_ends++] = pos;
  }
  return num_ends;
}

// Where one class ends and another begins, other than white space, a piece starts: no alternative of the
// pattern goes on from one class into another, but for the blank before a word and a contraction, and none
// looks back.
std::size_t find_gpt2_safe_cut(std::string_view text, std::size_t from) {
  for (std::size_t pos = std::max<std::size_t>(from, 1); pos < text.size(); ++pos) {
    if (!starts_character(text, pos)) continue;
    const CharClass here = character_at(text, pos).char_class;
    const CharClass before = classify(decode_utf8_before(text, pos)).char_class;
    const bool maybe_contraction = text[pos - 1] == '\'' && here == CharClass::kLetter;
    if (before != CharClass::kSpace && before != here && !maybe_contraction) return pos;
  }
  return text.size();
}

}  // namespace

Pattern pattern_from_name(std::string_view name) {
  const auto found = std::find(kPatternNames.begin(), kPatternNames.end(), name);
  if (found != kPatternNames.end()) return static_cast<Pattern>(found - kPatternNames.begin());
  std::string message = "unknown splitting pattern '" + std::string(name) + "'; known:";
  for (const std::string_view known : kPatternNames) message.append(" '").append(known).append("'");
  throw std::invalid_argument(message);
}

std::size_t next_piece_ends(Pattern pattern, std::string_view text, std::size_t start,
                            std::span<std::size_t> ends) {
  switch (pattern) {
    case Pattern::kGpt2:
      return fill_ends<gpt2_piece_end>(text, start, ends);
    case Pattern::kCl100k:
      return fill_ends<next_piece_end_cl100k>(text, start, ends);
    case Pattern::kO200k:
      return fill_ends<next_piece_end_o200k>(text, start, ends);
    case Pattern::kLlama3:
      return fill_ends<next_piece_end_llama3>(text, start, ends);
    case Pattern::kQwen2:
      return fill_ends<next_piece_end_qwen2>(text, start, ends);
    case Pattern::kDeepseek:
      return fill_ends<next_piece_end_deepseek>(text, start, ends);
  }
  return 0;
}

std::size_t find_safe_cut(Pattern pattern, std::string_view text, std::size_t from) {
  return pattern == Pattern::kGpt2 ? find_gpt2_safe_cut(text, from) : scalar::find_safe_cut(text, from);
}

}  // namespace gpt2x::bpe
