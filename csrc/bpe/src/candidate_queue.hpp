// A priority queue of pairs for the trainer: highest count first, then the smallest pair.
//
// Training takes pairs in the order of falling counts, and what merging a pair brings up cannot occur more
// often than the pair did. So the queue is a radix heap: pairs wait unsorted in buckets of similar counts,
// and only the bucket that is being emptied is a binary heap, small enough for the nearest cache.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "pair_table.hpp"

namespace gpt2x::bpe {

/// A pair with the count that it had when it was queued.
struct Candidate {
  std::uint64_t count;
  PairKey key;

  /// The queue's top is the greatest.
  friend bool operator<(const Candidate& a, const Candidate& b) {
    return a.count != b.count ? a.count < b.count : a.key > b.key;
  }
};

class CandidateQueue {
 public:
  /// Queues a pair; its count is at least 1 and, once top() has been called, at most that of the last top.
  void push(const Candidate& candidate) {
    const std::size_t index = bucket_of(candidate.count);
    std::vector<Candidate>& bucket = buckets_[index];
    bucket.push_back(candidate);
    if (index == current_) std::push_heap(bucket.begin(), bucket.end());
  }

  /// The greatest candidate, or nullptr; valid until the next push or pop.
  [[nodiscard]] const Candidate* top() {
    while (buckets_[current_].empty()) {
      if (current_ == 0) return nullptr;
      buckets_[current_] = std::vector<Candidate>();  // frees its memory
      std::vector<Candidate>& bucket = buckets_[--current_];
      std::make_heap(bucket.begin(), bucket.end());
    }
    return &buckets_[current_].front();
  }

  /// Removes what top() has shown.
  void pop() {
    std::vector<Candidate>& bucket = buckets_[current_];
    std::pop_heap(bucket.begin(), bucket.end());
    bucket.pop_back();
  }

 private:
  /// Eight buckets for each power of two: counts up to 8 have one each, then 8 to 15 and so on.
  static constexpr unsigned kFractionBits = 3;
  static constexpr std::size_t kNumBuckets = std::size_t{64 - kFractionBits + 1} << kFractionBits;

  static std::size_t bucket_of(std::uint64_t count) {
    const unsigned width = static_cast<unsigned>(std::bit_width(count));
    const unsigned shift = width > kFractionBits + 1 ? width - (kFractionBits + 1) : 0;
    return (std::size_t{shift} << kFractionBits) + (count >> shift);
  }

  std::size_t current_ = kNumBuckets;
  std::array<std::vector<Candidate>, kNumBuckets + 1> buckets_;  // the last is never filled
};

}  // namespace gpt2x::bpe
