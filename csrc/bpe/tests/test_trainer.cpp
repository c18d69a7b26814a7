#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "gpt2x/bpe/trainer.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

using Counts = std::vector<std::pair<std::string, std::uint64_t>>;

Counts counts_of(const PieceCounter& counter) {
  Counts counts;
  for (const auto& [piece, count] : counter.items()) counts.emplace_back(piece, count);
  return counts;
}

PieceCounter counter_of(const Counts& counts) {
  PieceCounter counter(Pattern::kGpt2);
  for (const auto& [piece, count] : counts) counter.add_piece(piece, count);
  return counter;
}

std::vector<Merge> learn(const Counts& counts, const LearnOptions& options) {
  MergeLearner learner(counter_of(counts), options);
  std::vector<Merge> merges;
  while (const std::optional<Merge> merge = learner.next()) merges.push_back(*merge);
  return merges;
}

std::vector<Merge> learn(const Counts& counts, std::size_t max_merges, std::uint64_t min_frequency = 1) {
  return learn(counts, {.max_merges = max_merges, .min_frequency = min_frequency});
}

std::vector<TokenPair> pairs_of(const std::vector<Merge>& merges) {
  std::vector<TokenPair> pairs;
  for (const Merge& merge : merges) pairs.push_back({merge.left, merge.right});
  return pairs;
}

// Distinct pieces in which many pairs compete, with counts between 1 and `max_count`.
Counts random_counts(std::mt19937& random, std::size_t num_pieces, std::uint64_t max_count) {
  std::map<std::string, std::uint64_t> distinct;
  while (num_pieces-- > 0) {
    const std::string piece = samples::random_letters(random, 1 + random() % 24, 1 + random() % 4);
    distinct[piece] = 1 + random() % max_count;
  }
  return {distinct.begin(), distinct.end()};
}

TokenId id_of(char byte) {
  const auto order = gpt2_byte_order();
  return static_cast<TokenId>(std::ranges::find(order, static_cast<std::uint8_t>(byte)) - order.begin());
}

}  // namespace

TEST("bytes have the ids of GPT-2's byte-to-unicode characters") {
  const auto order = gpt2_byte_order();
  CHECK_EQ(order[0], '!');
  CHECK_EQ(order[93], '~');
  CHECK_EQ(order[94], 161);
  CHECK_EQ(order[105], 172);
  CHECK_EQ(order[106], 174);
  CHECK_EQ(order[187], 255);
  CHECK_EQ(order[188], 0);
  CHECK_EQ(order[220], ' ');
  CHECK_EQ(order[221], 127);
  CHECK_EQ(order[255], 173);
  CHECK_EQ(std::set<int>(order.begin(), order.end()).size(), 256u);
}

TEST("pieces are counted; the most frequent come first, then in the order of their bytes") {
  PieceCounter counter(Pattern::kGpt2);
  counter.add("so long, so");
  counter.add(" long so");
  CHECK(counts_of(counter) == (Counts{{" long", 2}, {" so", 2}, {",", 1}, {"so", 1}}));
  CHECK_EQ(counter.num_pieces(), 6u);
  CHECK_EQ(counter.num_unique(), 4u);
  CHECK_EQ(counter.num_bytes(), 19u);
}

TEST("pieces of all lengths are counted, up to the last byte of the text") {
  std::mt19937 random(9);
  for (std::size_t length = 1; length < 40; ++length) {
    std::map<std::string, std::uint64_t> expected;
    std::vector<char> text;  // nothing may be read behind it
    for (int i = 0; i < 100; ++i) {
      std::string piece = samples::random_letters(random, length + 1, 1 + length % 3);
      piece[0] = ' ';
      ++expected[piece];
      text.insert(text.end(), piece.begin(), piece.end());
    }
    text.shrink_to_fit();
    PieceCounter counter(Pattern::kGpt2);
    counter.add({text.data(), text.size()});
    const Counts counts = counts_of(counter);
    CHECK((std::map(counts.begin(), counts.end()) == expected));
  }
}

TEST("counts are those of the reference, also of many distinct and malformed pieces") {
  std::mt19937 random(8);
  PieceCounter counter(Pattern::kGpt2);
  std::map<std::string, std::uint64_t> expected;
  for (int i = 0; i < 2000; ++i) {
    const std::string text = samples::random_text(random, 30, true);
    counter.add(text);
    for (const std::string& piece : reference::split(text)) ++expected[piece];
  }
  const Counts counts = counts_of(counter);
  CHECK((std::map(counts.begin(), counts.end()) == expected));
}

TEST("a copy of a counter counts for itself") {
  PieceCounter counter(Pattern::kGpt2);
  counter.add("one two");
  PieceCounter copy = counter;
  copy.add("one");
  CHECK_EQ(counter.num_pieces(), 2u);
  CHECK(counts_of(copy) == (Counts{{"one", 2}, {" two", 1}}));
  counter = copy;
  CHECK(counts_of(counter) == counts_of(copy));
}

TEST("learning may take the counter's memory, and leaves an empty one") {
  PieceCounter counter(Pattern::kGpt2);
  counter.add("one two one");
  const std::vector<Merge> expected = learn(counts_of(counter), LearnOptions{});
  MergeLearner learner(std::move(counter));
  for (const Merge& merge : expected) CHECK(learner.next() == merge);
  CHECK(!learner.next());
  CHECK_EQ(counter.num_unique(), 0u);
  counter.add("three");
  CHECK_EQ(counter.num_pieces(), 1u);
}

TEST("an empty piece is refused") {
  PieceCounter counter(Pattern::kGpt2);
  CHECK_THROWS(counter.add_piece("", 1), std::invalid_argument, "a piece is empty");
}

TEST("counts do not depend on the number of threads") {
  std::mt19937 random(10);
  std::string text;
  while (text.size() < 3'000'000) text += samples::random_text(random, 100, true);
  PieceCounter alone(Pattern::kGpt2);
  alone.add(text);
  for (const unsigned num_threads : {0, 2, 3, 8}) {
    PieceCounter together(Pattern::kGpt2);
    together.add(text, num_threads);
    CHECK_EQ(together.num_pieces(), alone.num_pieces());
    CHECK(counts_of(together) == counts_of(alone));
  }
}

TEST("counts are 64 bits wide") {
  constexpr std::uint64_t kMany = std::uint64_t{1} << 40;
  const std::vector<Merge> merges = learn({{"ab", kMany}, {"ac", kMany}, {"bab", kMany}}, 1);
  CHECK_EQ(merges.at(0).count, 2 * kMany);

  constexpr std::uint64_t kAlmost = std::numeric_limits<std::uint32_t>::max();
  PieceCounter counter(Pattern::kGpt2);
  for (const std::string piece : {"short", "a longer piece"}) {
    counter.add_piece(piece, kAlmost);
    counter.add_piece(piece, kMany + 3);
    counter.add_piece(piece, kAlmost);
  }
  counter.add("short");
  CHECK(counts_of(counter) ==
        (Counts{{"short", kMany + 2 * kAlmost + 4}, {"a longer piece", kMany + 2 * kAlmost + 3}}));
  CHECK(counts_of(PieceCounter(counter)) == counts_of(counter));

  std::mt19937 random(15);
  for (int i = 0; i < 50; ++i) {
    const Counts counts = random_counts(random, 20, std::uint64_t{1} << 36);
    CHECK(learn(counts, 60) == reference::learn(counts, 60));
  }
}

TEST("the most frequent pair wins, ties go to the smaller ids") {
  const std::vector<Merge> merges = learn({{"cd", 5}, {"ab", 5}, {"ef", 7}}, 10);
  CHECK(merges ==
        (std::vector<Merge>{
            {id_of('e'), id_of('f'), 7}, {id_of('a'), id_of('b'), 5}, {id_of('c'), id_of('d'), 5}}));
}

TEST("ids follow GPT-2's order in ties, where a blank comes after the letters") {
  CHECK(learn({{" a", 1}, {"ab", 1}}, 1).at(0) == (Merge{id_of('a'), id_of('b'), 1}));
}

TEST("overlapping pairs count each time and merge from the left") {
  const TokenId a = id_of('a');
  CHECK(learn({{"aaaa", 1}}, 10) == (std::vector<Merge>{{a, a, 3}, {256, 256, 1}}));
  CHECK(learn({{"aaaaa", 2}}, 10) == (std::vector<Merge>{{a, a, 8}, {256, a, 2}, {256, 257, 2}}));
  for (std::size_t length = 1; length < 40; ++length) {
    const Counts counts{{std::string(length, 'a'), 3},
                        {std::string("b").append(length / 2, 'a').append("b"), 2}};
    CHECK(learn(counts, 50) == reference::learn(counts, 50));
  }
}

TEST("merges equal those of counting anew every time") {
  std::mt19937 random(11);
  for (int i = 0; i < 400; ++i) {
    const Counts counts = random_counts(random, random() % 20, 5);
    const std::uint64_t min_frequency = random() % 4;
    CHECK(learn(counts, 60, min_frequency) == reference::learn(counts, 60, min_frequency));
  }
}

TEST("all that there is may stand beside a pair") {
  Counts counts{{"ab", 9}, {"abab", 9}};
  for (int byte = 0; byte < 256; ++byte) {
    counts.emplace_back(static_cast<char>(byte) + std::string("ab"), 5);
    counts.emplace_back(std::string("ab") + static_cast<char>(byte), 5);
  }
  for (const char* rare : {"xxab", "xxxab", "abxx", "abxxx"}) counts.emplace_back(rare, 1);
  CHECK(learn(counts, 20) == reference::learn(counts, 20));
}

TEST("fewer merges are the first of more") {
  // The fewer are wanted, the fewer pairs are kept: none of those that will be chosen may be left out.
  std::mt19937 random(16);
  for (int i = 0; i < 60; ++i) {
    const Counts counts = random_counts(random, 1 + random() % 60, i % 2 == 0 ? 3 : 1000);
    const std::vector<Merge> all = reference::learn(counts, 200);
    CHECK(learn(counts, LearnOptions{}).size() >= all.size());
    for (std::size_t num_merges = 0; num_merges <= all.size(); num_merges += 1 + random() % 3) {
      CHECK(learn(counts, num_merges) ==
            std::vector(all.begin(), all.begin() + static_cast<int>(num_merges)));
    }
  }
}

TEST("learning goes on from merges that are given as if it had never stopped") {
  std::mt19937 random(17);
  for (int i = 0; i < 60; ++i) {
    const Counts counts = random_counts(random, 1 + random() % 60, i % 2 == 0 ? 3 : 1000);
    const std::vector<Merge> all = learn(counts, 100);
    const std::size_t num_given = random() % (all.size() + 1);
    const std::vector<Merge> rest(all.begin() + static_cast<int>(num_given), all.end());
    std::vector<TokenPair> given = pairs_of(all);
    given.resize(num_given);
    CHECK(learn(counts, {.max_merges = rest.size(), .continue_from = given}) == rest);
    CHECK(learn(counts, {.max_merges = 100 - num_given, .continue_from = given}) == rest);
  }
}

TEST("merges that are given may come from another corpus") {
  const TokenId a = id_of('a'), b = id_of('b'), c = id_of('c');
  // "xy" does not occur: its id is not used, but not given to another merge either.
  const std::vector<TokenPair> given{{id_of('x'), id_of('y')}, {b, c}};
  CHECK(learn({{"abc", 2}, {"ab", 9}}, {.max_merges = 9, .continue_from = given}) ==
        (std::vector<Merge>{{a, b, 9}, {a, 257, 2}}));
}

TEST("merges that cannot be continued from are refused") {
  const auto go_on = [](std::vector<TokenPair> given) {
    return learn({{"ab", 1}}, {.max_merges = 1, .continue_from = given});
  };
  CHECK_THROWS(go_on({{1, 2}, {257, 3}}), std::invalid_argument,
               "joins ids 257 and 3, but only those below 257");
  CHECK_THROWS(go_on({{1, kNoToken}}), std::invalid_argument, "but only those below 256");
  CHECK_THROWS(go_on({{1, 2}, {3, 4}, {1, 2}}), std::invalid_argument, "merge 2 of those to continue from");
}

TEST("in raw order the id of a byte is its value") {
  const auto gpt2 = gpt2_byte_order();
  std::mt19937 random(18);
  for (int i = 0; i < 50; ++i) {
    // Bytes for which GPT-2's ids are the raw bytes: the same merges must come out.
    Counts counts = random_counts(random, 20, 4), renamed = counts;
    for (std::size_t k = 0; k < counts.size(); ++k) {
      for (std::size_t at = 0; at < counts[k].first.size(); ++at) {
        const auto byte = static_cast<std::uint8_t>(counts[k].first[at] * 61);
        counts[k].first[at] = static_cast<char>(byte);
        renamed[k].first[at] = static_cast<char>(gpt2[byte]);
      }
    }
    CHECK(learn(counts, {.max_merges = 60, .byte_order = ByteOrder::kRaw}) == reference::learn(renamed, 60));
  }
  CHECK(learn({{" a", 1}, {"ab", 1}}, {.max_merges = 1, .byte_order = ByteOrder::kRaw}).at(0) ==
        (Merge{' ', 'a', 1}));
}

TEST("ids beyond 16 bits are learned like the others") {
  // Distinct letters three at a time: 70,000 pieces of one merge each, then as many again.
  Counts counts;
  std::uint64_t count = 1'000'000;
  for (int i = 0; i < 70'000; ++i) {
    const std::string piece{static_cast<char>(i % 41 + 1), static_cast<char>(i / 41 % 41 + 50),
                            static_cast<char>(i / 41 / 41 + 100)};
    counts.emplace_back(piece, count--);
  }
  const std::vector<Merge> all = learn(counts, LearnOptions{});
  CHECK(all.size() > 70'000);
  for (const std::size_t num_merges : {65'278, 65'279, 65'280, 70'000}) {
    CHECK(learn(counts, num_merges) == std::vector(all.begin(), all.begin() + static_cast<int>(num_merges)));
  }
}

TEST("merges do not depend on the order of pieces") {
  std::mt19937 random(12);
  std::map<std::string, std::uint64_t> distinct;
  for (const std::string& piece : reference::split(samples::kText)) ++distinct[piece];
  Counts counts(distinct.begin(), distinct.end());
  const std::vector<Merge> expected = reference::learn(counts, 300);
  for (int i = 0; i < 5; ++i) {
    std::ranges::shuffle(counts, random);
    CHECK(learn(counts, 300) == expected);
  }
}

TEST("learning stops when no pair is frequent enough") {
  CHECK_EQ(learn({{"ab", 3}, {"cd", 1}}, 10, 2).size(), 1u);
  CHECK_EQ(learn({{"ab", 3}, {"cd", 1}}, 10, 0).size(), 2u);
  CHECK_EQ(learn({{"ab", 0}}, 10, 0).size(), 0u);
  CHECK_EQ(learn({}, 10).size(), 0u);
  CHECK_EQ(learn({{"a", 9}, {"b", 9}}, 10).size(), 0u);
}

TEST("no two tokens have the same bytes") {
  std::mt19937 random(13);
  for (int i = 0; i < 50; ++i) {
    const Counts counts{{samples::random_letters(random, 300, 2), 1},
                        {samples::random_letters(random, 300, 1), 1}};
    std::vector<std::string> bytes_of;
    for (const std::uint8_t byte : gpt2_byte_order()) bytes_of.emplace_back(1, static_cast<char>(byte));
    for (const Merge& merge : learn(counts, 500))
      bytes_of.push_back(bytes_of[merge.left] + bytes_of[merge.right]);
    CHECK_EQ(std::set<std::string>(bytes_of.begin(), bytes_of.end()).size(), bytes_of.size());
  }
}

TEST("one piece of a megabyte is learned from as fast as many short ones") {
  // Work that grew with the piece's length for each merge would take minutes here.
  std::mt19937 random(14);
  CHECK_EQ(learn({{samples::random_letters(random, 1'000'000, 26), 1}}, 2'000).size(), 2'000u);
}
