#include <random>

#include "check.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "reference.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

using Pieces = std::vector<std::string>;

Pieces split(std::string_view text) {
  Pieces pieces;
  for_each_piece(Pattern::kGpt2, text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

}  // namespace

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

TEST("the empty text has no pieces") {
  CHECK_EQ(split(""), Pieces{});
}

TEST("pieces equal those of the reference on random text, whole or broken UTF-8") {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = samples::random_text(random, random() % 16, i % 2 == 0);
    CHECK_EQ(split(text), reference::split(text));
  }
}

TEST("ends come in as many calls as the caller likes") {
  std::vector<std::size_t> expected(samples::kText.size());
  expected.resize(next_piece_ends(Pattern::kGpt2, samples::kText, 0, expected));
  for (const std::size_t room : {1, 2, 3, 7}) {
    std::vector<std::size_t> ends;
    std::vector<std::size_t> some(room);
    for (std::size_t start = 0; start < samples::kText.size(); start = ends.back()) {
      const std::size_t found = next_piece_ends(Pattern::kGpt2, samples::kText, start, some);
      ends.insert(ends.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(found));
    }
    CHECK_EQ(ends, expected);
  }
}

TEST("a text that is cut at a safe place has the same pieces") {
  std::mt19937 random(2);
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = samples::random_text(random, random() % 16, i % 2 == 0);
    const std::size_t cut = find_safe_cut(Pattern::kGpt2, text, text.empty() ? 0 : random() % text.size());
    Pieces pieces = split(std::string_view(text).substr(0, cut));
    const Pieces rest = split(std::string_view(text).substr(cut));
    pieces.insert(pieces.end(), rest.begin(), rest.end());
    CHECK_EQ(pieces, split(text));
  }
}

TEST("an unknown pattern is refused by name") {
  CHECK(pattern_from_name("gpt2") == Pattern::kGpt2);
  CHECK_THROWS(pattern_from_name("gpt9"), std::invalid_argument, "gpt9");
}
