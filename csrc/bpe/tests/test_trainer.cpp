#include <algorithm>
#include <limits>
#include <random>
#include <set>

#include "check.hpp"
#include "gpt2x/bpe/piece_counter.hpp"
#include "gpt2x/bpe/trainer.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

using Counts = std::vector<std::pair<std::string, std::uint64_t>>;

Counts counts_of(const PieceCounter& counter) {
  Counts counts;
  for (std::size_t i = 0; i < counter.num_unique(); ++i)
    counts.emplace_back(counter.piece(i), counter.count(i));
  return counts;
}

PieceCounter counter_of(const Counts& counts) {
  PieceCounter counter(Pattern::kGpt2);
  for (const auto& [piece, count] : counts) counter.add_piece(piece, count);
  return counter;
}

std::vector<Merge> learn(const Counts& counts, std::size_t num_merges, std::uint64_t min_frequency = 1) {
  MergeLearner learner(counter_of(counts));
  std::vector<Merge> merges;
  while (merges.size() < num_merges) {
    const std::optional<Merge> merge = learner.next(min_frequency);
    if (!merge) break;
    merges.push_back(*merge);
  }
  return merges;
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

TEST("pieces are counted, in the order in which they first occur") {
  PieceCounter counter(Pattern::kGpt2);
  counter.add("so long, so");
  counter.add(" long so");
  CHECK(counts_of(counter) == (Counts{{"so", 1}, {" long", 2}, {",", 1}, {" so", 2}}));
  CHECK_EQ(counter.num_pieces(), 6u);
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
    std::map<std::string, std::uint64_t> distinct;
    for (std::size_t n = random() % 20; n > 0; --n) {
      distinct[samples::random_letters(random, 1 + random() % 12, 1 + random() % 4)] = 1 + random() % 5;
    }
    const Counts counts(distinct.begin(), distinct.end());
    const std::uint64_t min_frequency = random() % 4;
    CHECK(learn(counts, 60, min_frequency) == reference::learn(counts, 60, min_frequency));
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

TEST("a lower minimum can take up where a higher one stopped") {
  MergeLearner learner(counter_of({{"ab", 3}, {"cd", 1}}));
  CHECK(learner.next(2).has_value());
  CHECK(!learner.next(2).has_value());
  CHECK(learner.next(1).has_value());
  CHECK(!learner.next(1).has_value());
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
