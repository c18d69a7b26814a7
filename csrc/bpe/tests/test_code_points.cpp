#include <random>

#include "check.hpp"
#include "gpt2x/bpe/internal/code_points.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

template <typename Char>
std::string utf8_of(const std::vector<Char>& text) {
  std::string utf8(text.size() * kMaxUtf8Bytes<Char>, '\0');
  utf8.resize(to_utf8(std::span<const Char>(text), utf8.data()));
  return utf8;
}

// Code points of each length in UTF-8, and surrogates, mostly ASCII between them.
template <typename Char>
std::vector<Char> random_code_points(std::mt19937& random, std::size_t size, unsigned one_odd_in = 4) {
  static constexpr char32_t kOdd[] = {0x7F,   0x80,   0xE9,   0xFF,   0x100,  0x7FF,   0x800,   0x4E2D,
                                      0xD83D, 0xDE00, 0xDFFF, 0xFFFD, 0xFFFF, 0x10000, 0x1F600, 0x10FFFF};
  std::vector<Char> text(size);
  for (Char& character : text) {
    const char32_t odd = kOdd[random() % std::size(kOdd)];
    const bool fits = odd <= std::numeric_limits<Char>::max();
    character = static_cast<Char>(random() % one_odd_in == 0 && fits ? odd : " etaoin'"[random() % 8]);
  }
  return text;
}

// The same once more, as plainly as possible.
template <typename Char>
std::string plain_utf8_of(const std::vector<Char>& text) {
  std::string utf8;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char32_t point = text[i];
    const char32_t next = i + 1 < text.size() ? text[i + 1] : 0;
    const bool is_pair = is_high_surrogate(point) && next >= 0xDC00 && next < 0xE000;
    if (is_pair) point = 0x10000 + (point - 0xD800) * 0x400 + (next - 0xDC00);
    i += is_pair;
    if (point >= 0xD800 && point < 0xE000) point = 0xFFFD;
    const auto put = [&](char32_t byte) { utf8 += static_cast<char>(byte); };
    if (point < 0x80) {
      put(point);
      continue;
    }
    const int num_behind = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    put((0xFF00u >> (num_behind + 1) & 0xFF) | point >> 6 * num_behind);
    for (int shift = 6 * num_behind - 6; shift >= 0; shift -= 6) put(0x80 | (point >> shift & 0x3F));
  }
  return utf8;
}

template <typename Char>
void check_utf8(std::mt19937& random, std::size_t size, unsigned one_odd_in) {
  const std::vector<Char> text = random_code_points<Char>(random, size, one_odd_in);
  CHECK_EQ(utf8_of(text), plain_utf8_of(text));
}

template <typename Char>
void check_encoding(std::mt19937& random, const Tokenizer& tokenizer, std::size_t size) {
  const std::vector<Char> text = random_code_points<Char>(random, size);
  std::vector<TokenId> tokens;
  VectorSink sink(tokens);
  tokenizer.encode(std::span<const Char>(text), sink);
  CHECK(tokens == tokenizer.encode(utf8_of(text)));
}

}  // namespace

TEST("code points become their UTF-8, pairs of surrogates one character, lone ones U+FFFD") {
  CHECK_EQ(utf8_of<char32_t>({'a', 0xE9, 0x4E2D, 0x1F600}), "a\u00e9\u4e2d\U0001F600");
  CHECK_EQ(utf8_of<std::uint8_t>({'a', 0xE9, 0xFF}), "a\u00e9\u00ff");
  CHECK_EQ(utf8_of<char16_t>({0xD83D, 0xDE00}), "\U0001F600");
  CHECK_EQ(utf8_of<char32_t>({0xD83D, 0xDE00}), "\U0001F600");
  CHECK_EQ(utf8_of<char16_t>({0xDE00, 0xD83D, 'x', 0xD83D}), "\uFFFD\uFFFDx\uFFFD");
}

TEST("code points become what the plain rule says, wherever in a text those of several bytes stand") {
  std::mt19937 random(43);
  for (int i = 0; i < 4'000; ++i) {
    for (const unsigned one_odd_in : {1, 2, 20}) {
      const std::size_t size = random() % 150;
      check_utf8<std::uint8_t>(random, size, one_odd_in);
      check_utf8<char16_t>(random, size, one_odd_in);
      check_utf8<char32_t>(random, size, one_odd_in);
    }
  }
  for (char32_t first = 0; first < 0x110000; first += 64) {
    std::vector<char32_t> text;
    for (char32_t point = first; point < first + 64; ++point) text.push_back(point);
    CHECK_EQ(utf8_of(text), plain_utf8_of(text));
  }
}

TEST("whatever the code points, the result is well-formed UTF-8") {
  std::mt19937 random(41);
  for (int i = 0; i < 3'000; ++i) {
    for (const std::string& utf8 : {utf8_of(random_code_points<std::uint8_t>(random, random() % 80)),
                                    utf8_of(random_code_points<char16_t>(random, random() % 80)),
                                    utf8_of(random_code_points<char32_t>(random, random() % 80))}) {
      CHECK_EQ(valid_utf8_prefix(utf8), utf8.size());
    }
  }
}

TEST("a text of code points has the tokens of its UTF-8, also when it is encoded in parts") {
  std::mt19937 random(42);
  const Tokenizer tokenizer(samples::vocabulary(samples::ranks()), Pattern::kGpt2);
  for (const std::size_t size : {0, 1, 15, 16, 17, 1000, 65'535, 65'536, 65'537, 200'000}) {
    check_encoding<std::uint8_t>(random, tokenizer, size);
    check_encoding<char16_t>(random, tokenizer, size);
    check_encoding<char32_t>(random, tokenizer, size);
  }
}

TEST("a text without a place to cut, and pairs of surrogates at every border, come out whole") {
  const Tokenizer tokenizer(samples::vocabulary(samples::ranks()), Pattern::kGpt2);
  for (const std::size_t before : {0, 1}) {
    std::vector<char16_t> text(before, u'a');
    for (int i = 0; i < 100'000; ++i) text.insert(text.end(), {0xD83D, 0xDE00});
    std::vector<TokenId> tokens;
    VectorSink sink(tokens);
    tokenizer.encode(std::span<const char16_t>(text), sink);
    CHECK(tokens == tokenizer.encode(utf8_of(text)));
  }
}
