#include "gpt2x/bpe/encoder.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <queue>
#include <stdexcept>

namespace gpt2x::bpe {

void encode_piece(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& tokens) {
  if (const TokenId token = vocabulary.find(piece); token != kNoToken) {
    tokens.push_back(token);
  } else if (piece.size() <= kMaxScanBytes) {
    merge_by_scan(vocabulary, piece, tokens);
  } else {
    merge_by_heap(vocabulary, piece, tokens);
  }
}

void merge_by_scan(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& tokens) {
  std::array<TokenId, kMaxScanBytes> parts;
  std::array<TokenId, kMaxScanBytes> ranks;  // ranks[i]: of merging parts i and i + 1; the last part has none
  std::size_t num_parts = piece.size();
  const auto rank_at = [&](std::size_t i) {
    return i + 1 < num_parts ? vocabulary.merged({parts[i], parts[i + 1]}) : kNoToken;
  };
  for (std::size_t i = 0; i < num_parts; ++i) parts[i] = vocabulary.token_of_byte(piece[i]);
  for (std::size_t i = 0; i < num_parts; ++i) ranks[i] = rank_at(i);

  while (num_parts > 1) {
    const auto lowest = std::min_element(ranks.begin(), ranks.begin() + num_parts);  // the leftmost of equals
    if (*lowest == kNoToken) break;
    const std::size_t i = lowest - ranks.begin();
    parts[i] = *lowest;
    std::copy(parts.begin() + i + 2, parts.begin() + num_parts, parts.begin() + i + 1);
    std::copy(ranks.begin() + i + 2, ranks.begin() + num_parts, ranks.begin() + i + 1);
    --num_parts;
    ranks[i] = rank_at(i);
    if (i > 0) ranks[i - 1] = rank_at(i - 1);
  }
  tokens.insert(tokens.end(), parts.begin(), parts.begin() + num_parts);
}

namespace {

// A piece as a doubly linked list of parts, and a heap of the merges that were possible when they were put
// there. An entry whose part has merged since no longer carries that part's rank, and is passed over.
class HeapMerger {
 public:
  HeapMerger(const Vocabulary& vocabulary, std::string_view piece)
      : vocabulary_(vocabulary), parts_(piece.size()) {
    const auto size = static_cast<Index>(piece.size());
    for (Index i = 0; i < size; ++i) {
      parts_[i] = {vocabulary.token_of_byte(piece[i]), kNoToken, i == 0 ? kNone : i - 1,
                   i + 1 == size ? kNone : i + 1};
    }
    std::vector<Entry> entries;
    for (Index i = 0; i < size; ++i) {
      if (update_rank(i)) entries.push_back(entry_of(i));
    }
    heap_ = Heap({}, std::move(entries));
  }

  void run() {
    while (!heap_.empty()) {
      const Entry entry = heap_.top();
      heap_.pop();
      const auto part = static_cast<Index>(entry);
      if (parts_[part].rank == entry >> 32) merge_with_next(part);
    }
  }

  void append_to(std::vector<TokenId>& tokens) const {
    for (Index i = 0; i != kNone; i = parts_[i].next) tokens.push_back(parts_[i].token);
  }

 private:
  using Index = std::uint32_t;
  static constexpr Index kNone = std::numeric_limits<Index>::max();

  struct Part {
    TokenId token;
    TokenId rank;  // of merging with the next part; kNoToken also for a part that is no more
    Index previous;
    Index next;
  };

  // Rank above, place below: the smallest entry is the leftmost merge of lowest rank.
  using Entry = std::uint64_t;
  using Heap = std::priority_queue<Entry, std::vector<Entry>, std::greater<>>;

  Entry entry_of(Index i) const { return Entry{parts_[i].rank} << 32 | i; }

  bool update_rank(Index i) {
    Part& part = parts_[i];
    part.rank = part.next == kNone ? kNoToken : vocabulary_.merged({part.token, parts_[part.next].token});
    return part.rank != kNoToken;
  }

  void merge_with_next(Index i) {
    Part& part = parts_[i];
    Part& gone = parts_[part.next];
    part.token = part.rank;
    part.next = gone.next;
    gone.rank = kNoToken;
    if (part.next != kNone) parts_[part.next].previous = i;
    if (update_rank(i)) heap_.push(entry_of(i));
    if (part.previous != kNone && update_rank(part.previous)) heap_.push(entry_of(part.previous));
  }

  const Vocabulary& vocabulary_;
  std::vector<Part> parts_;
  Heap heap_;
};

}  // namespace

void merge_by_heap(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& tokens) {
  if (piece.size() >= std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("a piece of " + std::to_string(piece.size()) + " bytes is too long to merge");
  }
  if (piece.empty()) return;
  HeapMerger merger(vocabulary, piece);
  merger.run();
  merger.append_to(tokens);
}

}  // namespace gpt2x::bpe
