#include "gpt2x/bpe/internal/special_search.hpp"

#include <random>
#include <set>

#include "check.hpp"
#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/code_points.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

struct Found {
  std::size_t start;
  std::size_t end;
  std::uint32_t index;
  friend bool operator==(const Found&, const Found&) = default;
};

SpecialTokens make(const std::vector<std::string>& tokens) {
  std::vector<Vocabulary::Entry> entries;
  for (const std::string& token : tokens)
    entries.push_back({token, static_cast<TokenId>(entries.size() + 300)});
  return SpecialTokens(entries);
}

template <typename Char>
std::vector<Found> find(const SpecialTokens& tokens, std::span<const Char> text, std::size_t start = 0) {
  std::vector<Found> found;
  SpecialSearch<Char> search(tokens, text, start);
  while (const auto match = search.next()) {
    CHECK_EQ(match->id, match->index + 300);
    found.push_back({match->start, match->end, match->index});
  }
  return found;
}

std::vector<Found> find(const std::vector<std::string>& tokens, std::string_view text,
                        std::size_t start = 0) {
  return find<char>(make(tokens), text, start);
}

// The leftmost, of those the longest, and from its end on again.
std::vector<Found> find_slowly(const std::vector<std::string>& tokens, std::string_view text,
                               std::size_t start = 0) {
  std::vector<Found> found;
  for (std::size_t pos = start; pos < text.size();) {
    std::size_t longest = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i].size() <= longest || text.substr(pos, tokens[i].size()) != tokens[i]) continue;
      if (longest > 0) found.pop_back();
      longest = tokens[i].size();
      found.push_back({pos, pos + longest, static_cast<std::uint32_t>(i)});
    }
    pos += std::max<std::size_t>(longest, 1);
  }
  return found;
}

std::vector<std::string> random_tokens(std::mt19937& random, unsigned alphabet_size) {
  std::set<std::string> tokens;
  for (std::size_t i = 1 + random() % 12; i > 0; --i) {
    tokens.insert(
        samples::random_letters(random, 1 + random() % (random() % 4 == 0 ? 40 : 5), alphabet_size));
  }
  return {tokens.begin(), tokens.end()};
}

std::u32string decode(std::string_view text) {
  std::u32string code_points;
  for (std::size_t pos = 0; pos < text.size();) {
    const Utf8Char character = decode_utf8(text, pos);
    code_points += character.code_point;
    pos += character.length;
  }
  return code_points;
}

template <typename Char>
std::vector<Found> find_in(const std::vector<std::string>& tokens, const std::u32string& text) {
  const std::vector<Char> narrow(text.begin(), text.end());
  return find<Char>(make(tokens), narrow);
}

}  // namespace

TEST("the leftmost token is found, and of those that begin there the longest") {
  CHECK_EQ(find({"<a>", "<a>+"}, "<a>+<a>"), (std::vector<Found>{{0, 4, 1}, {4, 7, 0}}));
  CHECK_EQ(find({"bc", "abcd"}, "abce abcd"), (std::vector<Found>{{1, 3, 0}, {5, 9, 1}}));
  CHECK_EQ(find({"aa"}, "aaaaa"), (std::vector<Found>{{0, 2, 0}, {2, 4, 0}}));
  CHECK_EQ(find({"aa"}, "aaaaa", 1), (std::vector<Found>{{1, 3, 0}, {3, 5, 0}}));
  CHECK_EQ(find({"a"}, "", 0), std::vector<Found>{});
  CHECK_EQ(find(std::vector<std::string>{}, "a"), std::vector<Found>{});
}

TEST("an empty token and one that occurs twice are refused") {
  CHECK_THROWS(make({"a", ""}), FormatError, "special token 301 is empty");
  CHECK_THROWS(make({"<a>", "b", "<a>"}), FormatError, "\"<a>\" occurs twice");
}

TEST("whatever the tokens, they are found as by trying all at every place") {
  std::mt19937 random(21);
  for (int i = 0; i < 4'000; ++i) {
    const unsigned alphabet_size = 1 + random() % 4;
    const std::vector<std::string> tokens = random_tokens(random, alphabet_size);
    std::string text = samples::random_letters(random, random() % 600, alphabet_size + random() % 2);
    if (random() % 3 == 0) text.insert(random() % (text.size() + 1), std::string(random() % 700, 'z'));
    const std::size_t start = random() % (text.size() + 1);
    CHECK_EQ(find(tokens, text, start), find_slowly(tokens, text, start));
  }
}

TEST("with many last bytes, too, and across the borders of parts") {
  std::mt19937 random(22);
  for (int i = 0; i < 60; ++i) {
    std::vector<std::string> tokens;
    for (char last = 'a'; last < 'a' + 1 + i % 10; ++last) {
      tokens.push_back(std::string("<|") + last);
      tokens.push_back(std::string("<|") + last + "|>");
    }
    std::string text;
    while (text.size() < 300'000) {
      text.append(random() % 5'000, " A<>|"[random() % 5]);
      text += tokens[random() % tokens.size()];
    }
    CHECK_EQ(find(tokens, text), find_slowly(tokens, text));
  }
}

TEST("in code points, places are counted in characters") {
  const std::vector<std::string> tokens{"\u00e9\u00df", "<|\u4e2d\u6587|>", "\U0001F600", "e", "\u00df"};
  const std::u32string text = decode("aé<|中文|>\U0001F600eéßß<|中|>");
  const std::vector<Found> expected{{2, 8, 1}, {8, 9, 2}, {9, 10, 3}, {10, 12, 0}, {12, 13, 4}};
  CHECK_EQ(find_in<char32_t>(tokens, text), expected);
  const std::u32string latin = decode("é ßéße<|");
  const std::vector<Found> in_latin{{2, 3, 4}, {3, 5, 0}, {5, 6, 3}};
  CHECK_EQ(find_in<std::uint8_t>(tokens, latin), in_latin);
  CHECK_EQ(find_in<char16_t>(tokens, latin), in_latin);

  std::mt19937 random(23);
  for (int i = 0; i < 1'000; ++i) {
    std::string utf8 = samples::random_text(random, random() % 40, false);
    const std::u32string characters = decode(utf8);
    std::set<std::string> some{"the", "\n"};
    for (int j = 0; j < 8 && !characters.empty(); ++j) {
      const std::u32string part = characters.substr(random() % characters.size(), 1 + random() % 4);
      std::string token;
      for (const char32_t c : part) {
        char bytes[4];
        token.append(bytes, to_utf8(std::span<const char32_t>(&c, 1), bytes));
      }
      some.insert(token);
    }
    const std::vector<std::string> all(some.begin(), some.end());
    std::vector<std::size_t> char_index(utf8.size() + 1);  // by byte
    std::size_t num_chars = 0;
    for (std::size_t pos = 0; pos < utf8.size(); pos += decode_utf8(utf8, pos).length) {
      char_index[pos] = num_chars++;
    }
    char_index[utf8.size()] = num_chars;
    std::vector<Found> expected_characters = find_slowly(all, utf8);
    for (Found& found : expected_characters) {
      found = {char_index[found.start], char_index[found.end], found.index};
    }
    CHECK_EQ(find_in<char32_t>(all, characters), expected_characters);
  }
}

TEST("hostile texts and tokens take time linear in the text") {
  // Quadratic work would take minutes; there is no need for a clock to notice.
  const std::string prefix(5'000, 'a');
  std::vector<std::string> tokens{"a"};
  for (int i = 0; i < 500; ++i) tokens.push_back(prefix + "b" + std::to_string(i) + "c");
  CHECK_EQ(find(tokens, std::string(1'000'000, 'a')).size(), 1'000'000u);
  tokens.erase(tokens.begin());
  std::string text;
  while (text.size() < 2'000'000) text += prefix + "b499";
  CHECK_EQ(find(tokens, text).size(), 0u);
  std::string opened;
  while (opened.size() < 2'000'000) opened += "<|x";
  CHECK_EQ(find({"<|x|>", "<|x<|x<|x|>", "x<"}, opened).size(), opened.size() / 3 - 1);
}

TEST("a hundred thousand tokens are told apart") {
  std::vector<std::string> tokens;
  std::string text;
  std::vector<Found> expected;
  for (std::uint32_t i = 0; i < 100'000; ++i) {
    tokens.push_back("<|w" + std::to_string(i) + "|>");
    text += "<|w";
    expected.push_back({text.size(), text.size() + tokens[i].size(), i});
    text += tokens[i];
  }
  CHECK_EQ(find(tokens, text), expected);
}

TEST("a text with special tokens has their ids, and between them what each part has by itself") {
  std::mt19937 random(24);
  const Tokenizer tokenizer(samples::vocabulary(samples::ranks()), Pattern::kGpt2);
  const std::vector<std::string> texts{"<|end|>", "<|end|>the", "the", " ", "\u00e9", "<|"};
  const SpecialTokens specials = make(texts);
  const EncodeOptions options{.specials = &specials};
  for (int i = 0; i < 3'000; ++i) {
    std::string text = samples::random_text(random, random() % 12, false);
    for (std::size_t j = random() % 6; j > 0; --j) {
      text += texts[random() % texts.size()] + samples::random_text(random, random() % 3, false);
    }
    std::vector<TokenId> expected;
    std::size_t start = 0;
    const auto add = [&](std::size_t end) {
      const std::vector<TokenId> part =
          reference::encode(samples::ranks(), std::string(std::string_view(text).substr(start, end - start)));
      expected.insert(expected.end(), part.begin(), part.end());
    };
    for (const Found& found : find_slowly(texts, text)) {
      add(found.start);
      expected.push_back(found.index + 300);
      start = found.end;
    }
    add(text.size());

    std::vector<TokenId> tokens;
    VectorSink sink(tokens);
    tokenizer.encode(text, sink, Tokenizer::Text::kAnyBytes, options);
    CHECK_EQ(tokens, expected);
    std::vector<TokenId> from_code_points;
    VectorSink other_sink(from_code_points);
    tokenizer.encode(std::span<const char32_t>(decode(text)), other_sink, options);
    CHECK_EQ(from_code_points, expected);
  }
}
