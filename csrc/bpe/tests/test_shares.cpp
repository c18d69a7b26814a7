#include <random>

#include "check.hpp"
#include "gpt2x/bpe/internal/code_points.hpp"
#include "gpt2x/bpe/internal/shares.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

using Tokens = std::vector<TokenId>;

// Characters of one to four bytes, halves of a pair of surrogates, and spellings of special tokens.
template <typename Char>
std::vector<Char> random_text(std::mt19937& random, std::size_t size) {
  static constexpr char32_t kOdd[] = {0xE9,   0x4E2D, 0x6587,  0x3002, 0xFF0C, 0x3042, 0x30A2,
                                      0xD83D, 0xDE00, 0x1F600, 0x301,  0x3000, 0xFF12};
  std::vector<Char> text;
  while (text.size() < size) {
    const char32_t odd = kOdd[random() % std::size(kOdd)];
    if (random() % 3 == 0 && odd <= std::numeric_limits<Char>::max()) {
      text.push_back(static_cast<Char>(odd));
    } else {
      text.push_back(static_cast<Char>("aBt '1./\n<|e|>"[random() % 14]));
    }
  }
  return text;
}

template <typename Char>
Tokens encode(const Tokenizer& tokenizer, std::span<const Char> text, const SpecialTokens* specials) {
  Tokens tokens;
  VectorSink sink(tokens);
  tokenizer.encode(text, sink, {.specials = specials});
  return tokens;
}

template <typename Char>
void check_shares(std::mt19937& random, const Tokenizer& tokenizer, const SpecialTokens* specials) {
  const std::vector<Char> text = random_text<Char>(random, random() % 200);
  const std::span<const Char> whole(text);
  const std::size_t share = 1 + random() % 60;
  Tokens joined;
  std::size_t start = 0;
  for (const std::size_t end : find_shares(tokenizer.pattern(), whole, specials, share)) {
    CHECK(end == text.size() || end - start >= share);
    for (const TokenId token : encode(tokenizer, whole.subspan(start, end - start), specials))
      joined.push_back(token);
    start = end;
  }
  CHECK_EQ(start, text.size());
  CHECK_EQ(joined, encode(tokenizer, whole, specials));
}

}  // namespace

TEST("the parts of a text have its tokens, whatever the pattern, the special tokens and the code points") {
  std::mt19937 random(51);
  const std::vector<Vocabulary::Entry> entries{
      {"<|e|>", 1'000}, {"e|>1", 1'001}, {".\n", 1'002}, {"t1", 1'003}};
  const SpecialTokens specials(entries);
  for (const std::string_view name : kPatternNames) {
    const Tokenizer tokenizer(samples::vocabulary(samples::ranks()), pattern_from_name(name));
    for (int i = 0; i < 600; ++i) {
      for (const SpecialTokens* const some : {static_cast<const SpecialTokens*>(nullptr), &specials}) {
        check_shares<std::uint8_t>(random, tokenizer, some);
        check_shares<char16_t>(random, tokenizer, some);
        check_shares<char32_t>(random, tokenizer, some);
      }
    }
  }
}

TEST("a place to cut is found beyond many windows, and UTF-8 is cut between characters") {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "\u4e2d";
  const std::size_t comma = text.size();
  text += "\u3001\u4e2d";
  for (const std::size_t share : {1, 2, 4'095, 4'096, 4'097}) {
    const std::vector<std::size_t> ends =
        find_shares(Pattern::kGpt2, std::span<const char>(text), nullptr, share);
    CHECK_EQ(ends.front(), comma);
    CHECK_EQ(ends.back(), text.size());
  }
  CHECK_EQ(find_shares(Pattern::kGpt2, std::span<const char>(), nullptr, 1).size(), 1u);
}

TEST("cutting takes no longer for a long special token, though a short one begins or ends everywhere") {
  // To look for tokens anew behind each one that was found would take minutes; there is no need for a clock
  // to notice.
  std::string text;
  while (text.size() < 4'000'000) text += "a ";
  const std::vector<Vocabulary::Entry> entries{
      {"a", 1'000}, {" a", 1'001}, {std::string(500'000, 'b'), 1'002}};
  const SpecialTokens specials(entries);
  std::size_t start = 0;
  for (const std::size_t end : find_shares(Pattern::kGpt2, std::span<const char>(text), &specials, 100'000)) {
    CHECK(end == text.size() || end - start >= 100'000);
    start = end;
  }
  CHECK_EQ(start, text.size());
}

TEST("threads share one long Chinese text, and its tokens are those of one thread") {
  std::mt19937 random(52);
  const Tokenizer tokenizer(samples::vocabulary(samples::ranks()), Pattern::kGpt2);
  static constexpr std::string_view kCharacters[] = {"\u4e2d", "\u6587", "\u5b57", "\u7684", "\u3002"};
  std::string text;
  while (text.size() < 3 * kLeastShare) text += kCharacters[random() % std::size(kCharacters)];
  const std::vector<std::string_view> texts{text, "", "one two", text};
  const std::vector<Tokens> one = tokenizer.encode_batch(texts, 1);
  CHECK_EQ(one[0], tokenizer.encode(text));
  CHECK(tokenizer.encode_batch(texts, 2) == one);
  CHECK(tokenizer.encode_batch(texts, 5) == one);
}
