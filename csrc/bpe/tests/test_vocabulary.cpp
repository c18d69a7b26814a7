#include <algorithm>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/byte_pool.hpp"
#include "gpt2x/bpe/internal/pair_map.hpp"
#include "gpt2x/bpe/rank_file.hpp"
#include "gpt2x/bpe/trainer.hpp"
#include "gpt2x/bpe/vocabulary.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

std::string rank_file_of_bytes() {
  return format_rank_file(samples::vocabulary(samples::ranks(0)));
}

Vocabulary load(const std::string& contents) {
  return vocabulary_from_ranks(parse_rank_file(contents));
}

/// No merges lead to it, so a vocabulary with it is not consistent.
constexpr std::string_view kOddToken = "<|a|>";

/// Tokens of a few bytes, among them the lowest and the highest, that begin, end and repeat each other.
reference::Ranks overlapping_tokens(std::mt19937& random) {
  std::vector<std::string> tokens{std::string(kOddToken)};
  const unsigned alphabet_size = 1 + random() % 3;
  for (unsigned i = 0; i < 60; ++i) {
    std::string bytes = samples::random_letters(random, 1 + random() % 12, alphabet_size);
    std::ranges::replace(bytes, 'b', '\0');
    std::ranges::replace(bytes, 'c', '\xff');
    const std::string& other = tokens[random() % tokens.size()];
    if (random() % 2 == 0 && other.size() < 100) bytes = random() % 2 == 0 ? bytes + other : other + bytes;
    tokens.push_back(bytes);
  }
  std::ranges::shuffle(tokens, random);
  reference::Ranks ranks = samples::ranks(0);
  for (const std::string& bytes : tokens) ranks.emplace(bytes, static_cast<TokenId>(ranks.size()));
  return ranks;
}

/// The beginnings, ends or repetitions of a string: all lengths from 2 to `longest`.
enum class Shape { kPrefixes, kSuffixes, kRuns };

reference::Ranks nested_tokens(Shape shape, std::size_t longest) {
  std::mt19937 random(12);
  const std::string letters = samples::random_letters(random, longest, shape == Shape::kRuns ? 1 : 26);
  reference::Ranks ranks = samples::ranks(0);
  ranks.emplace(kOddToken, static_cast<TokenId>(ranks.size()));
  for (std::size_t length = 2; length <= longest; ++length) {
    const std::size_t start = shape == Shape::kSuffixes ? longest - length : 0;
    ranks.emplace(letters.substr(start, length), static_cast<TokenId>(ranks.size()));
  }
  return ranks;
}

}  // namespace

TEST("tokens are found by their bytes and bytes by their token") {
  const reference::Ranks& ranks = samples::ranks();
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  CHECK_EQ(vocabulary.size(), ranks.size());
  for (const auto& [bytes, rank] : ranks) {
    CHECK_EQ(vocabulary.find(bytes), rank);
    CHECK_EQ(vocabulary.bytes_of(rank), bytes);
  }
  CHECK_EQ(vocabulary.find("no such token"), kNoToken);
  CHECK_EQ(vocabulary.find(""), kNoToken);
  CHECK_EQ(vocabulary.bytes_of(vocabulary.size()), "");
}

TEST("two tokens merge exactly if their bytes together are a token, where ids are out of order") {
  reference::Ranks ranks = samples::ranks(40);
  ranks["<|a|>"] = static_cast<TokenId>(ranks.size());
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  CHECK(!vocabulary.is_consistent());
  for (const auto& [left_bytes, left] : ranks) {
    for (const auto& [right_bytes, right] : ranks) {
      const auto whole = ranks.find(left_bytes + right_bytes);
      CHECK_EQ(vocabulary.merged({left, right}), whole == ranks.end() ? kNoToken : whole->second);
    }
  }
}

TEST("where no merges lead to some token, tokens that overlap merge in every way that gives a token") {
  std::mt19937 random(11);
  for (int round = 0; round < 100; ++round) {
    const reference::Ranks ranks = overlapping_tokens(random);
    const Vocabulary vocabulary = samples::vocabulary(ranks);
    CHECK(!vocabulary.is_consistent());
    const auto expected = reference::merges(ranks);
    for (TokenId left = 0; left < vocabulary.size(); ++left) {
      for (TokenId right = 0; right < vocabulary.size(); ++right) {
        const auto found = expected.find({left, right});
        CHECK_EQ(vocabulary.merged({left, right}), found == expected.end() ? kNoToken : found->second);
      }
    }
  }
}

TEST("merges of long tokens that begin, end or repeat each other are those of the reference") {
  for (const Shape shape : {Shape::kPrefixes, Shape::kSuffixes, Shape::kRuns}) {
    const reference::Ranks ranks = nested_tokens(shape, 300);
    const Vocabulary vocabulary = samples::vocabulary(ranks);
    CHECK(!vocabulary.is_consistent());
    for (const auto& [pair, whole] : reference::merges(ranks)) CHECK_EQ(vocabulary.merged(pair), whole);
  }
}

// Keys that one slot of a table would hold if the hashes were those without a secret that they once were: the
// multiplier's inverse leads back from wished products. Each would be compared with all before it, for
// minutes.
TEST("no table becomes slow when somebody chooses keys whose hashes fell together once") {
  constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15u;
  constexpr std::uint32_t kNumKeys = 1'000'000;
  std::uint64_t inverse = kMultiplier;  // Newton's steps double the bits that are right
  for (int i = 0; i < 5; ++i) inverse *= 2 - kMultiplier * inverse;
  CHECK_EQ(kMultiplier * inverse, std::uint64_t{1});
  const std::clock_t start = std::clock();

  BytePool pool;
  PairMap pairs;
  PieceCounter counter(Pattern::kGpt2);
  for (std::uint64_t i = 1; i <= kNumKeys; ++i) {
    const auto number = static_cast<std::uint32_t>(i);
    const std::uint64_t token = ((i << 32 | i) * inverse) ^ std::uint64_t{8} << 56;
    pool.insert({reinterpret_cast<const char*>(&token), sizeof token}, number);
    const std::uint64_t pair = i * inverse;
    pairs.insert({static_cast<TokenId>(pair >> 32), static_cast<TokenId>(pair)}, number);
    const std::uint64_t piece = (pair ^ pair >> 29 ^ pair >> 58) - (8u << 24) * 0xD6E8FEB86659FD93u;
    counter.add_piece({reinterpret_cast<const char*>(&piece), sizeof piece}, 1);
  }

  CHECK((std::clock() - start) / CLOCKS_PER_SEC < 15);
  CHECK_EQ(pool.size(), std::size_t{kNumKeys});
  CHECK_EQ(pairs.size(), std::size_t{kNumKeys});
  CHECK_EQ(counter.num_unique(), std::size_t{kNumKeys});
}

// 32 MB of tokens of all lengths up to 8,000 take a tenth of a second; to look up both parts of every split
// would take a minute.
TEST("loading time grows with the bytes of nested tokens, not with their splits times their lengths") {
  for (const Shape shape : {Shape::kPrefixes, Shape::kSuffixes}) {
    const reference::Ranks ranks = nested_tokens(shape, 8'000);
    const std::clock_t start = std::clock();
    const Vocabulary vocabulary = samples::vocabulary(ranks);
    CHECK((std::clock() - start) / CLOCKS_PER_SEC < 15);
    CHECK(!vocabulary.is_consistent());
    CHECK_EQ(vocabulary.size(), ranks.size());
  }
}

TEST("of a consistent vocabulary, one pair merges into each token") {
  const reference::Ranks& ranks = samples::ranks();
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  std::map<TokenId, int> num_pairs;
  for (const auto& [left_bytes, left] : ranks) {
    for (const auto& [right_bytes, right] : ranks) {
      const TokenId merged = vocabulary.merged({left, right});
      if (merged == kNoToken) continue;
      CHECK_EQ(vocabulary.bytes_of(merged), left_bytes + right_bytes);
      ++num_pairs[merged];
    }
  }
  for (const auto& [bytes, id] : ranks) CHECK_EQ(num_pairs[id], bytes.size() > 1 ? 1 : 0);
}

TEST("tokens that share their first eight bytes, their length or their zeros are told apart") {
  std::string contents = rank_file_of_bytes();
  reference::Ranks ranks = samples::ranks(0);
  for (const std::string_view bytes :
       {std::string_view("abcdefgh"), std::string_view("abcdefghi"), std::string_view("abcdefghj"),
        std::string_view("abcdefgh\0", 9), std::string_view("a\0", 2), std::string_view("\0\0", 2),
        std::string_view("\0a", 2)}) {
    ranks[std::string(bytes)] = static_cast<TokenId>(ranks.size());
  }
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  for (const auto& [bytes, rank] : ranks) CHECK_EQ(vocabulary.find(bytes), rank);
}

TEST("ids may have holes") {
  const Vocabulary vocabulary = load(rank_file_of_bytes() + "YWI= 1000\n");
  CHECK_EQ(vocabulary.size(), 1001u);
  CHECK_EQ(vocabulary.find("ab"), 1000u);
  CHECK_EQ(vocabulary.bytes_of(999), "");
}

TEST("a vocabulary that is none is refused with the reason") {
  const std::string bytes = rank_file_of_bytes();
  CHECK_THROWS(load(""), FormatError, "no token for the single byte \"\\x00\"");
  CHECK_THROWS(load(bytes.substr(bytes.find('\n') + 1)), FormatError, "no token for the single byte \"!\"");
  CHECK_THROWS(load(bytes + "YWI= 5\n"), FormatError, "id 5 is given to two tokens, \"&\" and \"ab\"");
  CHECK_THROWS(load(bytes + "YWI= 256\nYWI= 257\n"), FormatError, "token \"ab\" has two ids, 256 and 257");
  CHECK_THROWS(load(bytes + " 256\n"), FormatError, "token 256 is empty");
  CHECK_THROWS(load(bytes + "YWI= 4000000000\n"), FormatError, "4000000000");
}

TEST("a broken rank file is refused with its line") {
  CHECK_THROWS(parse_rank_file("IQ== 0\nIg= 1\n"), FormatError, "line 2: the token is not base64");
  CHECK_THROWS(parse_rank_file("IQ 0\n"), FormatError, "line 1: the token is not base64");
  CHECK_THROWS(parse_rank_file("I=Q= 0\n"), FormatError, "not base64");
  CHECK_THROWS(parse_rank_file("IQ==\n"), FormatError, "no space between token and rank");
  CHECK_THROWS(parse_rank_file("IQ== \n"), FormatError, "the rank is not a number");
  CHECK_THROWS(parse_rank_file("IQ== -1\n"), FormatError, "the rank is not a number");
  CHECK_THROWS(parse_rank_file("IQ== 1x\n"), FormatError, "the rank is not a number");
  CHECK_THROWS(parse_rank_file("IQ== 99999999999\n"), FormatError, "the rank is not a number");
  CHECK_THROWS(parse_rank_file(std::string("\0\xff binary", 9)), FormatError, "\\x00\\xff");
}

TEST("empty lines, carriage returns and a missing last newline are no errors") {
  const std::vector<RankedToken> tokens = parse_rank_file("IQ== 0\r\n\nIg== 1");
  CHECK_EQ(tokens.size(), 2u);
}

TEST("a rank file that is written reads back the same") {
  const Vocabulary vocabulary = samples::vocabulary(samples::ranks());
  const std::string contents = format_rank_file(vocabulary);
  const Vocabulary again = load(contents);
  CHECK_EQ(again.size(), vocabulary.size());
  for (TokenId id = 0; id < vocabulary.size(); ++id) CHECK_EQ(again.bytes_of(id), vocabulary.bytes_of(id));
  CHECK(contents.starts_with("IQ== 0\nIg== 1\n"));
}

TEST("a file that cannot be read is an IoError naming it") {
  CHECK_THROWS(read_file("/no/such/file"), IoError, "cannot read '/no/such/file': No such file");
  CHECK_THROWS(read_file("."), IoError, "cannot read '.': Is a directory");
}
