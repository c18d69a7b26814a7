#include "gpt2x/bpe/internal/unicode.hpp"

#include <algorithm>
#include <cstring>

#include "char_table.hpp"

namespace gpt2x::bpe {

#include "unicode_tables.inc"

namespace {

constexpr Utf8Char kMalformed{0xFFFD, 1};

constexpr bool is_continuation(std::uint8_t byte) {
  return (byte & 0xC0) == 0x80;
}

}  // namespace

const char* unicode_version() {
  return kTableUnicodeVersion;
}

CharCategory char_category(char32_t code_point) {
  return static_cast<CharCategory>(category_bits(code_point));
}

CharClass char_class(char32_t code_point) {
  return class_of(char_category(code_point));
}

// Well-formed byte sequences are those of the Unicode Standard's table 3-7: no surrogates, nothing above
// U+10FFFF, and no character in more bytes than it needs.
Utf8Char decode_utf8(std::string_view text, std::size_t pos) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[pos + i]); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};

  const std::size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length == 0 || text.size() - pos < length) return kMalformed;
  char32_t code_point = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (!is_continuation(byte(i))) return kMalformed;
    code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  const bool overlong = (length == 3 && code_point < 0x800) || (length == 4 && code_point < 0x10000);
  if (surrogate || overlong || code_point > 0x10FFFF) return kMalformed;
  return {code_point, length};
}

Utf8Char decode_utf8_before(std::string_view text, std::size_t pos) {
  const std::size_t longest = std::min<std::size_t>(pos, 4);
  for (std::size_t length = 1; length <= longest; ++length) {
    if (is_continuation(static_cast<std::uint8_t>(text[pos - length]))) continue;
    const Utf8Char character = decode_utf8(text, pos - length);
    // A shorter character than that leaves bytes which belong to none.
    return character.length == length ? character : kMalformed;
  }
  return kMalformed;
}

std::size_t valid_utf8_prefix(std::string_view text) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080u;
  std::size_t pos = 0;
  while (pos < text.size()) {
    std::uint64_t word = kHighBits;
    if (text.size() - pos >= sizeof word) std::memcpy(&word, text.data() + pos, sizeof word);
    if ((word & kHighBits) == 0) {  // eight ASCII characters
      pos += sizeof word;
      continue;
    }
    const Utf8Char character = decode_utf8(text, pos);
    if (character.length == 1 && character.code_point >= 0x80) return pos;
    pos += character.length;
  }
  return pos;
}

}  // namespace gpt2x::bpe
