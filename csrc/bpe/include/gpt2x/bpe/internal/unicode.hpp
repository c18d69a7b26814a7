// Characters: decoding UTF-8, and the classes that splitting patterns ask for.
//
// Every function is total. A byte that is no part of well-formed UTF-8 counts as one character of its own,
// U+FFFD of length 1 and so of class "other"; nothing ever reads past the text's end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gpt2x::bpe {

/// What `\p{L}`, `\p{N}` and `\s` match, in the Unicode version of unicode_version().
enum class CharClass : std::uint8_t { kOther = 0, kLetter = 1, kNumber = 2, kSpace = 3 };

/// The classes with letters divided by case, as o200k's pattern asks for them, and marks and punctuation told
/// apart from the rest, as deepseek's does. The two low bits are the CharClass.
enum class CharCategory : std::uint8_t {
  kOther = 0,    ///< controls, format characters, unassigned and private ones
  kUncased = 1,  ///< `\p{Lm}\p{Lo}`: letters that have no case, as most in the world
  kNumber = 2,
  kSpace = 3,
  kMark = 0 | 1 << 2,         ///< `\p{M}`, of class "other"
  kPunctuation = 0 | 2 << 2,  ///< `\p{P}\p{S}`, punctuation and symbols, of class "other"
  kUpper = 1 | 1 << 2,        ///< `\p{Lu}\p{Lt}`, upper and title case
  kLower = 1 | 2 << 2,        ///< `\p{Ll}`
};

/// The class that a category is part of.
[[nodiscard]] constexpr CharClass class_of(CharCategory category) {
  return static_cast<CharClass>(static_cast<std::uint8_t>(category) & 3);
}

/// A decoded character and the number of bytes it takes.
struct Utf8Char {
  char32_t code_point;
  std::size_t length;
};

/// The Unicode version of the class table, "16.0.0": the one that tiktoken and HF tokenizers follow.
[[nodiscard]] const char* unicode_version();

/// The class of a code point; `code_point` must be at most U+10FFFF.
[[nodiscard]] CharClass char_class(char32_t code_point);

/// The category of a code point; `code_point` must be at most U+10FFFF.
[[nodiscard]] CharCategory char_category(char32_t code_point);

/// The character that starts at `pos`, which must be inside the text.
[[nodiscard]] Utf8Char decode_utf8(std::string_view text, std::size_t pos);

/// The character that ends just before `pos`, which must not be 0.
[[nodiscard]] Utf8Char decode_utf8_before(std::string_view text, std::size_t pos);

/// Whether a well-formed character starts at `pos`, which must be inside the text, whatever stands before.
[[nodiscard]] inline bool starts_character(std::string_view text, std::size_t pos) {
  const auto byte = static_cast<std::uint8_t>(text[pos]);
  return byte < 0x80 || (byte >= 0xC0 && decode_utf8(text, pos).length > 1);
}

/// How many leading bytes are well-formed UTF-8 (all of them for a valid text).
[[nodiscard]] std::size_t valid_utf8_prefix(std::string_view text);

}  // namespace gpt2x::bpe
