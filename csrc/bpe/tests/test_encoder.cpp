#include <random>

#include "check.hpp"
#include "gpt2x/bpe/encoder.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

using Tokens = std::vector<TokenId>;
using Algorithm = void (*)(const Vocabulary&, std::string_view, Tokens&);

Tokens run(Algorithm algorithm, const Vocabulary& vocabulary, std::string_view piece) {
  Tokens tokens;
  algorithm(vocabulary, piece, tokens);
  return tokens;
}

// Random strings over a small alphabet with random ranks: no order of merges could have learned them, so a
// token may have a lower rank than its parts, or be out of reach.
reference::Ranks random_ranks(std::mt19937& random) {
  reference::Ranks ranks = samples::ranks(0);
  std::vector<TokenId> free_ids;
  for (TokenId id = 256; id < 400; ++id) free_ids.push_back(id);
  std::ranges::shuffle(free_ids, random);
  for (const TokenId id : free_ids) {
    const std::string bytes = samples::random_letters(random, 2 + random() % 5, 3);
    ranks.emplace(bytes, id);
  }
  return ranks;
}

}  // namespace

TEST("the pair of lowest rank merges first, the leftmost of several") {
  reference::Ranks ranks = samples::ranks(0);
  ranks["bc"] = 256;
  ranks["ab"] = 257;
  ranks["aa"] = 258;
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  for (const Algorithm algorithm : {merge_by_scan, merge_by_heap}) {
    CHECK_EQ(run(algorithm, vocabulary, "abc"), (Tokens{ranks["a"], 256}));
    CHECK_EQ(run(algorithm, vocabulary, "abab"), (Tokens{257, 257}));
    CHECK_EQ(run(algorithm, vocabulary, "aaa"), (Tokens{258, ranks["a"]}));
    CHECK_EQ(run(algorithm, vocabulary, "aaaa"), (Tokens{258, 258}));
    CHECK_EQ(run(algorithm, vocabulary, "x"), (Tokens{ranks["x"]}));
    CHECK_EQ(run(algorithm, vocabulary, ""), Tokens{});
  }
}

TEST("a piece that is a token is that token, even if no merges lead to it") {
  reference::Ranks ranks = samples::ranks(0);
  ranks["abc"] = 256;
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  CHECK_EQ(run(encode_piece, vocabulary, "abc"), Tokens{256});
  CHECK_EQ(run(merge_by_scan, vocabulary, "abc"), (Tokens{ranks["a"], ranks["b"], ranks["c"]}));
  CHECK_EQ(run(encode_piece, vocabulary, "abca").size(), 4u);
}

TEST("both algorithms equal the reference on learned vocabularies") {
  std::mt19937 random(3);
  const reference::Ranks& ranks = samples::ranks();
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  for (int i = 0; i < 3'000; ++i) {
    std::string piece(
        samples::kText.substr(random() % samples::kText.size(), random() % (kMaxScanBytes + 1)));
    if (i % 2 == 0) std::ranges::shuffle(piece, random);
    const Tokens expected = reference::merge(ranks, piece);
    CHECK_EQ(run(merge_by_scan, vocabulary, piece), expected);
    CHECK_EQ(run(merge_by_heap, vocabulary, piece), expected);
  }
}

TEST("both algorithms equal the reference on vocabularies that nothing learned") {
  std::mt19937 random(4);
  for (int i = 0; i < 100; ++i) {
    const reference::Ranks ranks = random_ranks(random);
    const Vocabulary vocabulary = samples::vocabulary(ranks);
    for (int j = 0; j < 40; ++j) {
      const std::string piece = samples::random_letters(random, random() % (kMaxScanBytes + 1), 3);
      const Tokens expected = reference::merge(ranks, piece);
      CHECK_EQ(run(merge_by_scan, vocabulary, piece), expected);
      CHECK_EQ(run(merge_by_heap, vocabulary, piece), expected);
      CHECK_EQ(run(encode_piece, vocabulary, piece), reference::encode_piece(ranks, piece));
    }
  }
}

TEST("pieces on both sides of the threshold give what the reference gives") {
  std::mt19937 random(5);
  const reference::Ranks ranks = random_ranks(random);
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  for (std::size_t length = kMaxScanBytes - 2; length <= kMaxScanBytes + 40; ++length) {
    for (const unsigned alphabet_size : {1, 2, 3}) {
      const std::string piece = samples::random_letters(random, length, alphabet_size);
      CHECK_EQ(run(encode_piece, vocabulary, piece), reference::encode_piece(ranks, piece));
    }
  }
}

TEST("a megabyte without a space is merged in far less than quadratic time") {
  // Quadratic work would take minutes; there is no need for a clock to notice.
  std::mt19937 random(6);
  const Vocabulary vocabulary = samples::vocabulary(random_ranks(random));
  for (const unsigned alphabet_size : {1, 3}) {
    const std::string piece = samples::random_letters(random, 1'000'000, alphabet_size);
    std::string decoded;
    for (const TokenId token : run(encode_piece, vocabulary, piece)) decoded += vocabulary.bytes_of(token);
    CHECK(decoded == piece);
  }
}
