// deepseek's pattern (DeepSeek-V3), which is three in a row, each applied to what the one before leaves:
//
//   1  \p{N}{1,3}                                            up to three digits
//   2  [\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+            Chinese characters and kana
//   3  [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+       one of ASCII's punctuation, ASCII letters
//      |[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+                 letters and marks, any one character before them
//      | ?[\p{P}\p{S}]+[\r\n]*                               punctuation, one blank before, newlines after
//      |\s*[\r\n]+|\s+(?!\S)|\s+                             white space: to its last newline; but for its
//      last
//
// What none of them matches (controls, format characters, what is not assigned) is a piece, too.
//
// 1 and 2 divide a text into segments: numbers, Chinese and kana, all else. 3 sees one segment only, so that
// white space before a number ends as it does before the text's end. The kana have punctuation among them and
// marks, so 3 divides their segments, too.
#include "scalar_split.hpp"

namespace gpt2x::bpe {
namespace {

/// What pattern 3 tells apart, and the end of a segment.
enum class Kind : std::uint8_t { kWord, kPunctuation, kSpace, kRest, kNumber, kEnd };

struct Character {
  Kind kind;
  bool chinese_or_kana;
  std::size_t length;
};

constexpr Kind kind_of(CharCategory category) {
  switch (category) {
    case CharCategory::kUncased:
    case CharCategory::kUpper:
    case CharCategory::kLower:
    case CharCategory::kMark:
      return Kind::kWord;
    case CharCategory::kPunctuation:
      return Kind::kPunctuation;
    case CharCategory::kSpace:
      return Kind::kSpace;
    case CharCategory::kNumber:
      return Kind::kNumber;
    case CharCategory::kOther:
      return Kind::kRest;
  }
  return Kind::kRest;
}

constexpr bool is_chinese_or_kana(char32_t code_point) {
  return (code_point >= 0x4E00 && code_point <= 0x9FA5) || (code_point >= 0x3040 && code_point <= 0x30FF);
}

constexpr auto kAsciiKinds = [] {
  std::array<Kind, 128> kinds{};
  for (unsigned byte = 0; byte < 128; ++byte) kinds[byte] = kind_of(scalar::kAsciiCategories[byte]);
  return kinds;
}();

inline Character character_at(std::string_view text, std::size_t pos) {
  const auto byte = static_cast<std::uint8_t>(text[pos]);
  if (byte < 0x80) [[likely]]
    return {kAsciiKinds[byte], false, 1};
  const Utf8Char character = decode_utf8(text, pos);
  return {kind_of(char_category(character.code_point)), is_chinese_or_kana(character.code_point),
          character.length};
}

constexpr bool is_ascii_letter(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/// The rest of the text, from a character of a segment that is no number.
struct Segment {
  std::string_view text;
  bool chinese_or_kana;

  /// The character at `pos`; of kind kEnd behind the segment.
  Character at(std::size_t pos) const {
    constexpr Character kSegmentEnd{Kind::kEnd, false, 0};
    if (pos >= text.size()) return kSegmentEnd;
    const Character character = character_at(text, pos);
    const bool inside = character.kind != Kind::kNumber && character.chinese_or_kana == chinese_or_kana;
    return inside ? character : kSegmentEnd;
  }

  /// Where the run of one kind that reaches `pos` ends.
  std::size_t run_end(Kind kind, std::size_t pos) const {
    while (true) {
      const Character character = at(pos);
      if (character.kind != kind) return pos;
      pos += character.length;
    }
  }

  std::size_t punctuation_end(std::size_t pos) const {
    pos = run_end(Kind::kPunctuation, pos);
    while (!chinese_or_kana && pos < text.size() && scalar::is_newline(text[pos])) ++pos;
    return pos;
  }

  std::size_t white_space_end(std::size_t start) const {
    const scalar::SpaceRun run = scalar::space_run(text, start);
    if (run.newline_end > start) return run.newline_end;
    return run.last_start == start || at(run.end).kind == Kind::kEnd ? run.end : run.last_start;
  }

  /// Characters that nothing matches: the last one is not among them if letters take it along.
  std::size_t unmatched_end(std::size_t pos) const {
    while (true) {
      const Character character = at(pos);
      if (character.kind != Kind::kRest || at(pos + character.length).kind == Kind::kWord) return pos;
      pos += character.length;
    }
  }
};

}  // namespace

std::size_t next_piece_end_deepseek(std::string_view text, std::size_t start) {
  const Character first = character_at(text, start);
  const Segment segment{text, first.chinese_or_kana};
  const std::size_t after = start + first.length;
  if (first.kind == Kind::kWord) return segment.run_end(Kind::kWord, after);
  if (first.kind == Kind::kNumber) return scalar::number_end(text, start);

  if (first.kind == Kind::kPunctuation) {
    std::size_t letters = after;
    if (static_cast<std::uint8_t>(text[start]) < 0x80) {
      while (letters < text.size() && is_ascii_letter(text[letters])) ++letters;
    }
    return letters > after ? letters : segment.punctuation_end(after);
  }
  const Kind second = segment.at(after).kind;
  if (second == Kind::kWord && !scalar::is_newline(text[start])) return segment.run_end(Kind::kWord, after);
  if (second == Kind::kPunctuation && text[start] == ' ') return segment.punctuation_end(after);
  return first.kind == Kind::kSpace ? segment.white_space_end(start) : segment.unmatched_end(start);
}

}  // namespace gpt2x::bpe
