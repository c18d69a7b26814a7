#include <random>

#include "check.hpp"
#include "gpt2x/bpe/internal/splitter.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "reference.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

using Pieces = std::vector<std::string>;

constexpr std::array kPatterns{Pattern::kGpt2,   Pattern::kCl100k, Pattern::kO200k,
                               Pattern::kLlama3, Pattern::kQwen2,  Pattern::kDeepseek};
static_assert(kPatterns.size() == kPatternNames.size());

Pieces split(std::string_view text, Pattern pattern = Pattern::kGpt2) {
  Pieces pieces;
  for_each_piece(pattern, text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

Pieces cl100k(std::string_view text) {
  return split(text, Pattern::kCl100k);
}

Pieces o200k(std::string_view text) {
  return split(text, Pattern::kO200k);
}

Pieces llama3(std::string_view text) {
  return split(text, Pattern::kLlama3);
}

Pieces deepseek(std::string_view text) {
  return split(text, Pattern::kDeepseek);
}

// What the patterns tell apart, in short mixtures: letters of every case and none, marks, contractions,
// newlines and slashes, white space of one to three bytes, and bytes that are not valid UTF-8.
std::string awkward_text(std::mt19937& random, std::size_t num_blocks) {
  static constexpr std::array<std::string_view, 52> kBlocks{
      "A",      "B",      "Q",      "a",          "s",      "ll",     "\u01c5", "\u02b0",   "\u4e2d",
      "\u0301", "\u0903", "1",      "22",         "²",      " ",      "  ",     "\n",       "\r",
      "\n ",    "\t",     "\u0085", "\u00a0",     "\u2003", "\u3000", "!",      "/",        "//",
      ".",      "'",      "'s",     "'S",         "'lL",    "'Re",    "'VE",    "'d",       "'\u017f",
      "\u017f", "\u212a", "\u200b", "\U0001f600", "e",      "r",      "\x80",   "\xe2\x80", "\u3042",
      "\u30fb", "\u3099", "\u3097", "\u9fa5",     "\u9fa6", "\x01",   "+"};
  std::string text;
  for (std::size_t i = 0; i < num_blocks; ++i) text += kBlocks[random() % kBlocks.size()];
  return text;
}

std::string random_text(std::mt19937& random, int i) {
  return i % 2 == 0 ? awkward_text(random, random() % 16)
                    : samples::random_text(random, random() % 16, i % 4 == 1);
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------
// GPT-2

TEST("a word takes one blank before it") {
  CHECK_EQ(split("Hello, big  world"), (Pieces{"Hello", ",", " big", " ", " world"}));
}

TEST("letters, numbers and the rest are pieces of their own") {
  CHECK_EQ(split("abc123!? x²"), (Pieces{"abc", "123", "!?", " x", "²"}));
  CHECK_EQ(split("$5.00 (100%)"), (Pieces{"$", "5", ".", "00", " (", "100", "%)"}));
}

TEST("contractions count at a piece's start only, and in lower case only") {
  CHECK_EQ(split("it's we'll I'd they've you're don't I'm"),
           (Pieces{"it", "'s", " we", "'ll", " I", "'d", " they", "'ve", " you", "'re", " don", "'t", " I",
                   "'m"}));
  CHECK_EQ(split("IT'S"), (Pieces{"IT", "'", "S"}));
  CHECK_EQ(split("'tis"), (Pieces{"'t", "is"}));
  CHECK_EQ(split(" 's"), (Pieces{" '", "s"}));
  CHECK_EQ(split("!'s"), (Pieces{"!'", "s"}));
  CHECK_EQ(split("'l 'v"), (Pieces{"'", "l", " '", "v"}));
  CHECK_EQ(split("''s"), (Pieces{"''", "s"}));
  CHECK_EQ(split("'s's"), (Pieces{"'s", "'s"}));
}

TEST("a run of white space keeps back its last character unless it ends the text") {
  CHECK_EQ(split("a   b"), (Pieces{"a", "  ", " b"}));
  CHECK_EQ(split("a   "), (Pieces{"a", "   "}));
  CHECK_EQ(split("a\n\nb"), (Pieces{"a", "\n", "\n", "b"}));
  CHECK_EQ(split("a \nb"), (Pieces{"a", " ", "\n", "b"}));
  CHECK_EQ(split("\n"), (Pieces{"\n"}));
  CHECK_EQ(split(" "), (Pieces{" "}));
}

TEST("white space of several bytes is kept back whole") {
  for (const std::string space :
       {"\u0085", "\u00a0", "\u1680", "\u2000", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"}) {
    CHECK_EQ(split("a" + space + "b"), (Pieces{"a", space, "b"}));
    CHECK_EQ(split("a" + space + space + "b"), (Pieces{"a", space, space, "b"}));
    CHECK_EQ(split("a " + space + " b"), (Pieces{"a", " " + space, " b"}));
    CHECK_EQ(split("a" + space + space), (Pieces{"a", space + space}));
  }
}

TEST("what only looks like white space belongs to the other characters") {
  for (const std::string other : {"\x1c", "\x1d", "\x1e", "\x1f", "\u200b", "\u180e", "\ufeff"}) {
    CHECK_EQ(split("a " + other + "!b"), (Pieces{"a", " " + other + "!", "b"}));
  }
}

TEST("only the blank joins what follows, not other white space") {
  CHECK_EQ(split("a\tb \u00a0c"), (Pieces{"a", "\t", "b", " ", "\u00a0", "c"}));
}

// ---------------------------------------------------------------------------------------------------------------------
// cl100k

TEST("cl100k: letters take along any one character but a newline, a number, or another letter") {
  CHECK_EQ(cl100k("Hello, big  world"), (Pieces{"Hello", ",", " big", " ", " world"}));
  CHECK_EQ(cl100k("(word) \tx\u3000y\nz"), (Pieces{"(word", ")", " ", "\tx", "\u3000y", "\n", "z"}));
  CHECK_EQ(cl100k("((word))"), (Pieces{"((", "word", "))"}));
  CHECK_EQ(cl100k("cafe\u0301s"), (Pieces{"cafe", "\u0301s"}));
}

TEST("cl100k: contractions count in every case, at a piece's start only") {
  CHECK_EQ(cl100k("IT'S we'Ll they'VE 'd"), (Pieces{"IT", "'S", " we", "'Ll", " they", "'VE", " '", "d"}));
  CHECK_EQ(cl100k("'tis 'Twas"), (Pieces{"'t", "is", " '", "Twas"}));
  CHECK_EQ(cl100k("!'s"), (Pieces{"!'", "s"}));
  CHECK_EQ(cl100k("'law"), (Pieces{"'law"}));
  CHECK_EQ(cl100k("it'\u017fo"), (Pieces{"it", "'\u017f", "o"}));  // the long s is an s
}

TEST("cl100k: numbers come in groups of three, without a blank before") {
  CHECK_EQ(cl100k("12345678 1"), (Pieces{"123", "456", "78", " ", "1"}));
  CHECK_EQ(cl100k("x²½³7"), (Pieces{"x", "²½³", "7"}));
}

TEST("cl100k: punctuation takes the newlines after it") {
  CHECK_EQ(cl100k("a {\r\n\n  b;\n/"), (Pieces{"a", " {\r\n\n", " ", " b", ";\n", "/"}));
}

TEST("cl100k: white space ends after its last newline, or with the text") {
  CHECK_EQ(cl100k("a \n \n  b"), (Pieces{"a", " \n \n", " ", " b"}));
  CHECK_EQ(cl100k("a \n  "), (Pieces{"a", " \n  "}));
  CHECK_EQ(cl100k("a  1"), (Pieces{"a", " ", " ", "1"}));
}

// ---------------------------------------------------------------------------------------------------------------------
// o200k

TEST("o200k: a word ends where lower case ends and upper case follows") {
  CHECK_EQ(o200k("camelCase HTMLParser iPhone ABC"),
           (Pieces{"camel", "Case", " HTMLParser", " i", "Phone", " ABC"}));
  CHECK_EQ(o200k("\u01c5ungla a\u01c5"), (Pieces{"\u01c5ungla", " a", "\u01c5"}));  // title case
}

TEST("o200k: letters without case and marks go with either case") {
  CHECK_EQ(o200k("ABC\u4e2d\u6587def"), (Pieces{"ABC\u4e2d\u6587def"}));
  CHECK_EQ(o200k("\u4e2d\u6587ABC"), (Pieces{"\u4e2d\u6587", "ABC"}));
  CHECK_EQ(o200k("\u4e2d\u6587ABCd"), (Pieces{"\u4e2d\u6587ABCd"}));
  CHECK_EQ(o200k("cafe\u0301s"), (Pieces{"cafe\u0301s"}));
  CHECK_EQ(o200k("\u0301ABC"), (Pieces{"\u0301", "ABC"}));
  CHECK_EQ(o200k("!\u0301!!\u0301a"), (Pieces{"!\u0301", "!!\u0301", "a"}));
}

TEST("o200k: contractions stay with their word, in every case") {
  CHECK_EQ(o200k("it's IT'S we'LLx 'tis \u4e2d's"),
           (Pieces{"it's", " IT'S", " we'LL", "x", " '", "tis", " \u4e2d's"}));
  CHECK_EQ(o200k("a's's"), (Pieces{"a's", "'s"}));
  CHECK_EQ(o200k("it'\u017f 1's"), (Pieces{"it'\u017f", " ", "1", "'s"}));
}

TEST("o200k: punctuation takes the newlines and slashes after it") {
  CHECK_EQ(o200k("a;\n//b"), (Pieces{"a", ";\n//", "b"}));
  CHECK_EQ(o200k("\n/x"), (Pieces{"\n", "/x"}));
}

TEST("o200k: white space ends after its last newline, also before the end of the text") {
  CHECK_EQ(o200k("a \n \n  b"), (Pieces{"a", " \n \n", " ", " b"}));
  CHECK_EQ(o200k("a \n  "), (Pieces{"a", " \n", "  "}));
}

// ---------------------------------------------------------------------------------------------------------------------
// llama3, qwen2

TEST("llama3: as cl100k, but white space ends after its last newline also before the end of the text") {
  CHECK_EQ(llama3("IT'S 1234 (word)\n\nit'\u017f"),
           (Pieces{"IT", "'S", " ", "123", "4", " (", "word", ")\n\n", "it", "'\u017f"}));
  CHECK_EQ(llama3("a \n  "), (Pieces{"a", " \n", "  "}));
  CHECK_EQ(llama3("a \n  b"), (Pieces{"a", " \n", " ", " b"}));
}

TEST("qwen2: as llama3, with each digit by itself") {
  CHECK_EQ(split("IT'S 123\n ", Pattern::kQwen2), (Pieces{"IT", "'S", " ", "1", "2", "3", "\n", " "}));
}

// ---------------------------------------------------------------------------------------------------------------------
// deepseek

TEST("deepseek: words have marks in them, and any one character before them but a newline or punctuation") {
  CHECK_EQ(deepseek("Hello, cafe\u0301 \tx\u3000y\nz"),
           (Pieces{"Hello", ",", " cafe\u0301", " ", "\tx", "\u3000y", "\n", "z"}));
  CHECK_EQ(deepseek("\u200bword (word)"), (Pieces{"\u200bword", " (", "word", ")"}));
}

TEST("deepseek: one character of ASCII's punctuation goes with the ASCII letters after it") {
  CHECK_EQ(deepseek("it's (a) $x\u00e9 ((b"),
           (Pieces{"it", "'s", " (", "a", ")", " $", "x\u00e9", " ((", "b"}));
  CHECK_EQ(deepseek("'s\u00e9"), (Pieces{"'s", "\u00e9"}));
  CHECK_EQ(deepseek("\u00a7s"), (Pieces{"\u00a7", "s"}));
}

TEST(
    "deepseek: numbers, and Chinese and kana, are split first, and white space before them ends as before "
    "nothing") {
  CHECK_EQ(deepseek("a  1234  \u4e2d\u3042x"), (Pieces{"a", "  ", "123", "4", "  ", "\u4e2d\u3042", "x"}));
  CHECK_EQ(deepseek("!\u4e2d\u9fa6"), (Pieces{"!", "\u4e2d", "\u9fa6"}));
}

TEST("deepseek: kana have punctuation, marks and unassigned characters among them") {
  CHECK_EQ(deepseek("\u3042\u30fb\u304b\u3099\u3097\u3042\u3097"),
           (Pieces{"\u3042", "\u30fb", "\u304b\u3099", "\u3097\u3042", "\u3097"}));
  CHECK_EQ(deepseek("\u30fb\n"), (Pieces{"\u30fb", "\n"}));
  CHECK_EQ(deepseek("\u3002\n"), (Pieces{"\u3002\n"}));
}

TEST("deepseek: what nothing matches is a piece, but for the last character before letters") {
  CHECK_EQ(deepseek("!\x01\x02 a\x01\x02z\x01"), (Pieces{"!", "\x01\x02", " a", "\x01", "\x02z", "\x01"}));
}

// ---------------------------------------------------------------------------------------------------------------------
// All patterns

TEST("the empty text has no pieces") {
  for (const Pattern pattern : kPatterns) CHECK_EQ(split("", pattern), Pieces{});
}

TEST("pieces equal those of the reference on random text, whole or broken UTF-8") {
  std::mt19937 random(1);
  for (int i = 0; i < 40'000; ++i) {
    const std::string text = random_text(random, i);
    for (const Pattern pattern : kPatterns) CHECK_EQ(split(text, pattern), reference::split(text, pattern));
  }
}

TEST("pieces equal those of the reference wherever in a text something special stands") {
  for (const std::string_view special :
       {"'s",      "'LL",     "'\u017f", "'",       "A",        "aB",        "\u0301",
        "\u0301A", "\u4e2dA", "\u00a0",  "\u3000x", " ",        "  ",        "\r\n",
        " \n ",    "!\n/\r",  "12",      "²",       "\xe2\x80", "\U0001f600"}) {
    for (const std::string_view filler : {"a", "A", "\u4e2d", "1", "!", " ", "\n", "/", "\u00a0"}) {
      std::string before;
      for (int offset = 0; offset <= 130; ++offset, before += filler) {
        const std::string text = before + std::string(special) + std::string(filler) + "x";
        for (const Pattern pattern : kPatterns)
          CHECK_EQ(split(text, pattern), reference::split(text, pattern));
      }
    }
  }
}

TEST("ends come in as many calls as the caller likes") {
  for (const Pattern pattern : kPatterns) {
    std::vector<std::size_t> expected(samples::kText.size());
    expected.resize(next_piece_ends(pattern, samples::kText, 0, expected));
    for (const std::size_t buffer : {1, 2, 3, 7}) {
      std::vector<std::size_t> ends;
      std::vector<std::size_t> some(buffer);
      for (std::size_t start = 0; start < samples::kText.size(); start = ends.back()) {
        const std::size_t found = next_piece_ends(pattern, samples::kText, start, some);
        ends.insert(ends.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(found));
      }
      CHECK_EQ(ends, expected);
    }
  }
}

TEST("a text that is cut at a safe place has the same pieces") {
  std::mt19937 random(2);
  for (int i = 0; i < 40'000; ++i) {
    const std::string text = random_text(random, i);
    for (const Pattern pattern : kPatterns) {
      const std::size_t cut = find_safe_cut(pattern, text, text.empty() ? 0 : random() % text.size());
      Pieces pieces = split(std::string_view(text).substr(0, cut), pattern);
      const Pieces rest = split(std::string_view(text).substr(cut), pattern);
      pieces.insert(pieces.end(), rest.begin(), rest.end());
      CHECK_EQ(pieces, split(text, pattern));
    }
  }
}

TEST("a safe place is found near by in any usual text") {
  for (const Pattern pattern : kPatterns) {
    CHECK_EQ(find_safe_cut(pattern, "one two", 1), 3u);
    CHECK_EQ(find_safe_cut(pattern, "one, two", 1), 3u);
    CHECK_EQ(find_safe_cut(pattern, "one, two", 4), 4u);
    CHECK_EQ(find_safe_cut(pattern, "12345 6", 1), 5u);
    CHECK_EQ(find_safe_cut(pattern, "\u3002\n \u4e2d\n", 1), pattern == Pattern::kGpt2 ? 3u : 8u);
    CHECK_EQ(find_safe_cut(pattern, "unbroken", 1), 8u);
  }
  for (const Pattern pattern : kPatterns) {
    if (pattern == Pattern::kGpt2) continue;
    CHECK_EQ(find_safe_cut(pattern, "a;\nb", 2), 3u);
    CHECK_EQ(find_safe_cut(pattern, ";\n/\n b c", 1), 6u);
  }
}

TEST("a safe place is found in text without white space: at punctuation and at numbers") {
  for (const Pattern pattern : kPatterns) {
    CHECK_EQ(find_safe_cut(pattern, "\u4e2d\u6587\u3002\u4e2d", 1), 6u);
    CHECK_EQ(find_safe_cut(pattern, "\u3042\u30a2\u3001\u3042", 1), 6u);
    CHECK_EQ(find_safe_cut(pattern, "\u4e2d\u65872024\u5e74\u4e2d", 1), 6u);
    CHECK_EQ(find_safe_cut(pattern, "\u4e2d\u65872024\u5e74\u4e2d", 7), 10u);
    CHECK_EQ(find_safe_cut(pattern, "it'", 1), pattern == Pattern::kGpt2 ? 2u : 3u);
    CHECK_EQ(find_safe_cut(pattern, "\u4e2d\xe3\x80", 1), 5u);  // half a character may become any
  }
}

TEST("an unknown pattern is refused by name") {
  for (std::size_t i = 0; i < kPatterns.size(); ++i)
    CHECK(pattern_from_name(kPatternNames[i]) == kPatterns[i]);
  CHECK_THROWS(pattern_from_name("gpt9"), std::invalid_argument, "gpt9");
}
