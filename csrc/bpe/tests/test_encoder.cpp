#include <random>
#include <type_traits>

#include "../src/kernels.hpp"
#include "check.hpp"
#include "gpt2x/bpe/internal/encoder.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

using Tokens = std::vector<TokenId>;
using Algorithm = TokenId* (*)(const VocabularyTables&, std::string_view, TokenId*, TokenId rank_limit);

TokenId* scan(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out, TokenId rank_limit) {
  return merge_by_scan(vocabulary, piece, out, rank_limit);
}

TokenId* heap(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out, TokenId rank_limit) {
  return merge_by_heap(vocabulary, piece, out, rank_limit);
}

// The other ways know no limit.
template <typename Function>
Tokens run(Function algorithm, const Vocabulary& vocabulary, std::string_view piece) {
  Tokens tokens(piece.size());
  const TokenId* end = nullptr;
  if constexpr (std::is_same_v<Function, Algorithm>) {
    end = algorithm(vocabulary.tables(), piece, tokens.data(), kNoToken);
  } else {
    end = algorithm(vocabulary.tables(), piece, tokens.data(), never_stopped);
  }
  tokens.resize(static_cast<std::size_t>(end - tokens.data()));
  return tokens;
}

// Tokens of 64 and 128 bytes, as GPT-2 has them, beside those of the sample text.
reference::Ranks ranks_with_long_tokens() {
  reference::Ranks ranks = samples::ranks();
  auto next = static_cast<TokenId>(ranks.size());
  for (std::size_t length = 2; length <= 128; length *= 2) ranks.emplace(std::string(length, '-'), next++);
  return ranks;
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
  for (const Algorithm algorithm : {scan, heap}) {
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
  CHECK_EQ(run(scan, vocabulary, "abc"), (Tokens{ranks["a"], ranks["b"], ranks["c"]}));
  CHECK_EQ(run(encode_piece, vocabulary, "abca").size(), 4u);
  CHECK(!vocabulary.is_consistent());
}

TEST("a vocabulary that was learned is consistent, one with ids out of order is not") {
  CHECK(samples::vocabulary(samples::ranks()).is_consistent());
  CHECK(samples::vocabulary(samples::ranks(0)).is_consistent());
  CHECK(samples::vocabulary(ranks_with_long_tokens()).is_consistent());
  reference::Ranks ranks = samples::ranks(0);
  ranks["abc"] = 256;
  ranks["ab"] = 257;
  CHECK(!samples::vocabulary(ranks).is_consistent());
}

TEST("two tokens can follow each other if merging their bytes gives these two") {
  const reference::Ranks& ranks = samples::ranks();
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  for (const auto& [left_bytes, left] : ranks) {
    for (const auto& [right_bytes, right] : ranks) {
      const Tokens merged = run(heap, vocabulary, left_bytes + right_bytes);
      CHECK_EQ(vocabulary.tables().can_follow(left, right), (merged == Tokens{left, right}));
    }
  }
}

TEST("bytes join if they stand side by side in a token") {
  reference::Ranks ranks = samples::ranks(0);
  ranks["xyz"] = 256;
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  CHECK(vocabulary.tables().joins('x', 'y'));
  CHECK(vocabulary.tables().joins('y', 'z'));
  CHECK(!vocabulary.tables().joins('x', 'z'));
  CHECK(!vocabulary.tables().joins('y', 'x'));
  std::array<std::uint32_t, 6> cuts{};
  CHECK_EQ(vocabulary.tables().find_cuts("xyzxzyz", 6, cuts.data()), 3u);
  CHECK_EQ(cuts[0], 3u);
  CHECK_EQ(cuts[1], 4u);
  CHECK_EQ(cuts[2], 5u);
}

TEST("windows equal the heap for long pieces of learned vocabularies") {
  std::mt19937 random(11);
  const reference::Ranks ranks = ranks_with_long_tokens();
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  for (int i = 0; i < 2'000; ++i) {
    std::string piece;
    while (piece.size() < random() % 1'000) {
      switch (random() % 4) {
        case 0:
          piece += std::string(random() % 300, '-');
          break;
        case 1:
          piece += std::string(random() % 100, 'a');
          break;
        case 2:
          piece += samples::random_letters(random, random() % 100, 26);
          break;
        default:
          piece += samples::kText.substr(random() % samples::kText.size(), random() % 100);
      }
    }
    CHECK_EQ(run(merge_by_windows, vocabulary, piece), run(heap, vocabulary, piece));
  }
}

TEST("windows come to an end where the end of a piece decides how it begins") {
  const Vocabulary vocabulary = samples::vocabulary(samples::ranks_decided_by_the_end());
  CHECK(vocabulary.is_consistent());
  const std::string letters = samples::letters_decided_by_the_end();
  for (std::size_t size = 1; size <= letters.size(); ++size) {
    for (const std::size_t times : {1, 5}) {
      std::string piece;
      for (std::size_t i = 0; i < times; ++i) (piece += "z") += letters.substr(0, size);
      CHECK_EQ(run(merge_by_windows, vocabulary, piece), run(heap, vocabulary, piece));
    }
  }
}

TEST("repeating equals the heap for pieces with repetitions of any period, at every length around a limit") {
  std::mt19937 random(13);
  const reference::Ranks long_ranks = ranks_with_long_tokens();
  for (int i = 0; i < 60; ++i) {
    const bool learned = i % 2 == 0;
    const Vocabulary vocabulary = samples::vocabulary(!learned     ? random_ranks(random)
                                                      : i % 4 == 0 ? long_ranks
                                                                   : samples::ranks());
    const auto some_bytes = [&](std::size_t size) {
      if (!learned) return samples::random_letters(random, size, 3);
      if (random() % 3 == 0) return std::string(size, '-');
      return std::string(samples::kText.substr(random() % (samples::kText.size() - size), size));
    };
    for (int j = 0; j < 12; ++j) {
      std::string piece;
      for (std::size_t k = 1 + random() % 3; k > 0; --k) {
        piece += some_bytes(random() % 100);
        const std::string unit = some_bytes(1 + random() % (j % 3 == 0 ? 70 : 5));
        const std::size_t size = random() % 4 == 0 ? random() % 300 : 2000 + random() % 4000;
        while (piece.size() < size) piece += unit;
        piece.resize(piece.size() - random() % std::min<std::size_t>(piece.size(), unit.size()));
      }
      piece += some_bytes(random() % 100);
      CHECK_EQ(run(merge_by_repeating, vocabulary, piece), run(heap, vocabulary, piece));
    }
  }
}

TEST("repeating equals the heap for runs of every byte") {
  std::mt19937 random(14);
  reference::Ranks ranks = samples::ranks(0);
  for (int i = 0; i < 3'000; ++i) {  // runs of many lengths as tokens, with ranks in no order
    const std::string token(2 + random() % 90, static_cast<char>(random() % 256));
    ranks.emplace(token, static_cast<TokenId>(ranks.size()));
  }
  for (const reference::Ranks& each : {ranks, ranks_with_long_tokens()}) {
    const Vocabulary vocabulary = samples::vocabulary(each);
    for (unsigned byte = 0; byte < 256; ++byte) {
      std::string piece = samples::random_letters(random, random() % 4, 26);
      piece.append(2'040 + random() % 600, static_cast<char>(byte));
      piece += samples::random_letters(random, random() % 4, 26);
      CHECK_EQ(run(merge_by_repeating, vocabulary, piece), run(heap, vocabulary, piece));
    }
  }
}

TEST("a long repetition takes no longer than a short one, whatever the vocabulary") {
  // The heap would take minutes, and gigabytes of memory; there is no need for a clock to notice.
  std::mt19937 random(15);
  const Vocabulary vocabulary = samples::vocabulary(random_ranks(random));
  CHECK(!vocabulary.is_consistent());
  for (const std::string_view unit : {"a", "ab", "abcab", "\xe2\x80\x94"}) {
    std::string piece;
    while (piece.size() < 64'000'000) piece += unit;
    const Tokens tokens = run(merge_by_repeating, vocabulary, piece);
    std::size_t size = 0;
    for (const TokenId token : tokens) size += vocabulary.bytes_of(token).size();
    CHECK_EQ(size, piece.size());
  }
}

TEST("a flag that has been raised stops every way that may take long") {
  StopFlag stop;
  stop.raise();
  std::mt19937 random(16);
  const std::string piece = samples::random_letters(random, 200, 26);
  const Vocabulary learned = samples::vocabulary(samples::ranks());
  const Vocabulary other = samples::vocabulary(random_ranks(random));
  Tokens buffer(piece.size());
  CHECK_THROWS(merge_by_heap(learned.tables(), piece, buffer.data(), kNoToken, stop), Stopped, "stopped");
  CHECK_THROWS(merge_by_windows(learned.tables(), piece, buffer.data(), stop), Stopped, "stopped");
  CHECK_THROWS(merge_by_repeating(learned.tables(), piece, buffer.data(), stop), Stopped, "stopped");
  CHECK_THROWS(encode_piece(learned.tables(), piece, buffer.data(), stop), Stopped, "stopped");
  CHECK_THROWS(encode_piece(other.tables(), piece, buffer.data(), stop), Stopped, "stopped");
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
    CHECK_EQ(run(scan, vocabulary, piece), expected);
    CHECK_EQ(run(heap, vocabulary, piece), expected);
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
      CHECK_EQ(run(scan, vocabulary, piece), expected);
      CHECK_EQ(run(heap, vocabulary, piece), expected);
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

TEST("merges at or above a limit are not made") {
  reference::Ranks ranks = samples::ranks(0);
  ranks["ab"] = 256;
  ranks["cd"] = 257;
  ranks["abcd"] = 258;
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  for (const Algorithm algorithm : {scan, heap}) {
    const auto with_limit = [&](TokenId limit) {
      Tokens tokens(4);
      tokens.resize(static_cast<std::size_t>(algorithm(vocabulary.tables(), "abcd", tokens.data(), limit) -
                                             tokens.data()));
      return tokens;
    };
    CHECK_EQ(with_limit(257), (Tokens{256, ranks["c"], ranks["d"]}));
    CHECK_EQ(with_limit(258), (Tokens{256, 257}));
    CHECK_EQ(with_limit(259), Tokens{258});
  }
}

TEST("words that are merged together give what each gives alone, in every version") {
  std::mt19937 random(12);
  const reference::Ranks& ranks = samples::ranks();
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  for (int i = 0; i < 300; ++i) {
    std::vector<std::string> words(1 + random() % 40);
    for (std::string& word : words) {
      word = samples::kText.substr(random() % (samples::kText.size() - kMaxWordBytes),
                                   1 + random() % kMaxWordBytes);
    }
    for (const Kernels* version : usable_kernels()) {
      std::vector<TokenId> buffer(words.size() * kMaxWordBytes);
      std::vector<WordJob> jobs;
      for (const std::string& word : words) {
        const TokenId limit = random() % 4 == 0 ? static_cast<TokenId>(random() % ranks.size()) : kNoToken;
        jobs.emplace_back(word, limit, &buffer[jobs.size() * kMaxWordBytes]);
      }
      version->merge_words(vocabulary.tables().merge_rules(), jobs);
      for (std::size_t j = 0; j < jobs.size(); ++j) {
        const WordJob& job = jobs[j];
        Tokens expected(words[j].size());
        expected.resize(static_cast<std::size_t>(
            merge_by_heap(vocabulary.tables(), words[j], expected.data(), job.rank_limit) - expected.data()));
        CHECK_EQ(Tokens(job.tokens, job.tokens + job.num_tokens), expected);
      }
    }
  }
}
