#include <map>

#include "../src/char_table.hpp"
#include "check.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"

using namespace gpt2x::bpe;

TEST("the class table has as many characters as Unicode 16.0 and tiktoken") {
  std::size_t counts[4] = {};
  for (char32_t code_point = 0; code_point < 0x110000; ++code_point) {
    ++counts[static_cast<std::size_t>(char_class(code_point))];
  }
  CHECK_EQ(std::string(unicode_version()), "16.0.0");
  CHECK_EQ(counts[static_cast<std::size_t>(CharClass::kLetter)], 141'028u);
  CHECK_EQ(counts[static_cast<std::size_t>(CharClass::kNumber)], 1'911u);
  CHECK_EQ(counts[static_cast<std::size_t>(CharClass::kSpace)], 25u);
}

TEST("the categories divide the classes as Unicode 16.0 and tiktoken do") {
  std::map<CharCategory, std::size_t> counts;
  for (char32_t code_point = 0; code_point < 0x110000; ++code_point) {
    const CharCategory category = char_category(code_point);
    ++counts[category];
    CHECK(class_of(category) == char_class(code_point));
  }
  CHECK_EQ(counts[CharCategory::kUpper], 1'889u);
  CHECK_EQ(counts[CharCategory::kLower], 2'258u);
  CHECK_EQ(counts[CharCategory::kUncased], 136'881u);
  CHECK_EQ(counts[CharCategory::kMark], 2'501u);
  CHECK_EQ(counts[CharCategory::kPunctuation], 9'369u);
  CHECK_EQ(counts.size(), 8u);
}

TEST("letters have the case, and marks the category, that Unicode gives them") {
  for (const char32_t upper : {0x41, 0xDE, 0x01C4, 0x01C5, 0x03A9, 0x1FBC, 0x212A, 0x10400})
    CHECK(char_category(upper) == CharCategory::kUpper);
  for (const char32_t lower : {0x61, 0xDF, 0x017F, 0x01C6, 0x03C9, 0x1D68A, 0x10428})
    CHECK(char_category(lower) == CharCategory::kLower);
  for (const char32_t uncased : {0xAA, 0x01BB, 0x02B0, 0x05D0, 0x3042, 0x4E2D, 0xAC00, 0x20000})
    CHECK(char_category(uncased) == CharCategory::kUncased);
  for (const char32_t mark : {0x0301, 0x0903, 0x20DD, 0xFE0F, 0xE01EF})
    CHECK(char_category(mark) == CharCategory::kMark);
  for (const char32_t punctuation : {0x2F, 0x24, 0x5E, 0xA7, 0x24B6, 0x30FB, 0x1F600, 0xFFFD})
    CHECK(char_category(punctuation) == CharCategory::kPunctuation);
  for (const char32_t other : {0x00, 0x7F, 0xAD, 0x200B, 0x200D, 0x3097, 0xE000, 0x10FFFF})
    CHECK(char_category(other) == CharCategory::kOther);
}

TEST("white space is the White_Space property, not what looks like it") {
  for (const char32_t space : {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2000, 0x200A, 0x2028,
                               0x2029, 0x202F, 0x205F, 0x3000}) {
    CHECK(char_class(space) == CharClass::kSpace);
  }
  for (const char32_t other : {0x00, 0x08, 0x1C, 0x1D, 0x1E, 0x1F, 0x180E, 0x200B, 0x2060, 0xFEFF}) {
    CHECK(char_class(other) == CharClass::kOther);
  }
}

TEST("groups of letters are those of which every character is a letter") {
  const auto check = [](const LetterGroups& groups, unsigned first_lead, unsigned bits_behind) {
    for (unsigned lead = 0; lead < 16; ++lead) {
      for (unsigned group = 0; group < 8; ++group) {
        const char32_t payload = (first_lead + lead) & (bits_behind == 0 ? 0x1F : 0x0F);
        const char32_t first = (payload << 6 | group << 3) << bits_behind;
        bool letters = bits_behind == 0 ? first >= 0x80 : first >= 0x800;  // else no character is spelled so
        for (char32_t i = 0; i < 8u << bits_behind; ++i)
          letters &= char_class(first + i) == CharClass::kLetter;
        CHECK_EQ(groups[lead] >> group & 1, int{letters});
      }
    }
  };
  check(kLetterGroupsC, 0xC0, 0);
  check(kLetterGroupsD, 0xD0, 0);
  check(kLetterGroupsE, 0xE0, 6);
}

TEST("letters and numbers of every plane have their class") {
  for (const char32_t letter : {0x41, 0xE9, 0x3B1, 0x4E2D, 0xD55C, 0x10400, 0x20000, 0x323AF}) {
    CHECK(char_class(letter) == CharClass::kLetter);
  }
  for (const char32_t number : {0x30, 0xB2, 0x2167, 0x0E50, 0x1D7D8, 0x1FBF9}) {
    CHECK(char_class(number) == CharClass::kNumber);
  }
  for (const char32_t other : {0x301, 0x1F600, 0xD800, 0xE000, 0x10FFFF}) {
    CHECK(char_class(other) == CharClass::kOther);
  }
}

TEST("every code point but the surrogates survives a round trip through UTF-8") {
  const auto encode = [](char32_t c) -> std::string {
    const auto byte = [](char32_t value) { return static_cast<char>(value); };
    const auto tail = [&](unsigned shift) { return byte(0x80 | (c >> shift & 0x3F)); };
    if (c < 0x80) return {byte(c)};
    if (c < 0x800) return {byte(0xC0 | c >> 6), tail(0)};
    if (c < 0x10000) return {byte(0xE0 | c >> 12), tail(6), tail(0)};
    return {byte(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
  };
  for (char32_t code_point = 0; code_point < 0x110000; ++code_point) {
    const std::string bytes = encode(code_point);
    const bool surrogate = code_point >= 0xD800 && code_point < 0xE000;
    const Utf8Char decoded = decode_utf8(bytes, 0);
    const Utf8Char before = decode_utf8_before(bytes, bytes.size());
    CHECK_EQ(valid_utf8_prefix(bytes), surrogate ? 0 : bytes.size());
    CHECK_EQ(static_cast<std::uint32_t>(decoded.code_point), surrogate ? 0xFFFD : code_point);
    CHECK_EQ(decoded.length, surrogate ? 1 : bytes.size());
    CHECK(before.code_point == decoded.code_point && before.length == decoded.length);
  }
}

TEST("malformed bytes count one by one, and a valid prefix ends before them") {
  for (const std::string_view broken :
       {"\x80", "\xc3", "\xc3(", "\xc0\xaf", "\xe2\x82", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff"}) {
    CHECK_EQ(decode_utf8(broken, 0).length, 1u);
    CHECK_EQ(static_cast<std::uint32_t>(decode_utf8(broken, 0).code_point), 0xFFFDu);
    for (std::size_t before = 0; before < 20;
         ++before) {  // the check steps over eight bytes of ASCII at a time
      CHECK_EQ(valid_utf8_prefix(std::string(before, 'x').append(broken).append("tail")), before);
    }
  }
}
