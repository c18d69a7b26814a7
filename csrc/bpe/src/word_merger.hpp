// Merging many short words at the same time: see Kernels::merge_words.
//
// Each merge of a word waits for the one before: find the lowest rank, look up what the new token can merge
// with, find the lowest rank again. So a processor that could do five things at once does one. Here it goes
// round from word to word, a merge at a time, and while one word waits the others go on.
//
// In an anonymous namespace since it is compiled several times (see target.hpp).
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels.hpp"

namespace gpt2x::bpe {
namespace {

// A word's parts by the place of their first byte, and the merges that are possible by the place of their
// left part: each as one number, rank above, place below, so that the lowest is the leftmost of lowest rank.
// The places before and behind the word hold no token, which merges with none.
class WordLane {
 public:
  void start(const MergeRules& rules, WordJob& job) {
    job_ = &job;
    const std::uint32_t size = job.size;
    limit_ = job.rank_limit < (kNone >> kPlaceBits) ? job.rank_limit << kPlaceBits : kNone;
    starts_ = (2u << (size + 1)) - 1;
    // As many rounds for every word, so that their number need not be predicted.
    std::uint32_t byte = job.bytes[0];
    for (std::uint32_t i = 0; i < kMaxWordBytes; ++i) {
      const std::uint32_t next = job.bytes[i + 1];
      tokens_[i + 1] = rules.byte_tokens[byte];
      merges_[i + 1] = merge_at(i + 1, rules.byte_merges[byte << 8 | next]);
      byte = next;
    }
    // What was looked up behind the last byte is taken back.
    for (std::uint32_t i = 1; i <= kMaxWordBytes; ++i) merges_[i] |= 0u - std::uint32_t{i >= size};
    tokens_[0] = tokens_[size + 1] = kNoToken;
  }

  /// Makes the next merge; false if there is none.
  bool step(const MergeRules& rules) {
    const std::uint32_t lowest = find_lowest();
    if (lowest >= limit_) return false;
    const std::uint32_t place = lowest % (1u << kPlaceBits);
    const TokenId merged = lowest >> kPlaceBits;
    const std::uint32_t gone = next_start(place);
    starts_ &= ~(1u << gone);
    tokens_[place] = merged;
    merges_[gone] = kNone;
    const std::uint32_t next = next_start(place);
    const std::uint32_t previous = 31 - std::countl_zero(starts_ & ((1u << place) - 1));
    merges_[place] = merge_at(place, rules.merges.find({merged, tokens_[next]}));
    merges_[previous] = merge_at(previous, rules.merges.find({tokens_[previous], merged}));
    return true;
  }

  void finish() {
    std::size_t count = 0;
    const std::uint32_t word = starts_ & ((2u << job_->size) - 2);
    for (std::uint32_t left = word; left != 0; left &= left - 1)
      job_->tokens[count++] = tokens_[std::countr_zero(left)];
    job_->num_tokens = count;
  }

 private:
  static constexpr unsigned kPlaceBits = 5;

  // More than any merge, and what becomes of a rank of kNoToken.
  static constexpr std::uint32_t kNone = kNoToken << kPlaceBits;

  static std::uint32_t merge_at(std::uint32_t place, TokenId rank) { return rank << kPlaceBits | place; }

  [[nodiscard]] std::uint32_t next_start(std::uint32_t place) const {
    return place + 1 + static_cast<std::uint32_t>(std::countr_zero(starts_ >> place >> 1));
  }

  [[nodiscard]] std::uint32_t find_lowest() const {
    std::uint32_t lowest = kNone;
    for (std::size_t i = 1; i <= kMaxWordBytes; ++i) lowest = merges_[i] < lowest ? merges_[i] : lowest;
    return lowest;
  }

  std::uint32_t tokens_[kMaxWordBytes + 2];
  std::uint32_t merges_[kMaxWordBytes + 2];
  std::uint32_t starts_;  // bits: where parts start, and the places around the word
  std::uint32_t limit_;   // merges below this
  WordJob* job_;
};

void merge_words(const MergeRules& rules, std::span<WordJob> jobs) {
  constexpr std::size_t kLanes = 8;
  WordLane lanes[kLanes];
  auto next = jobs.begin();
  if (jobs.size() >= kLanes) {
    for (WordLane& lane : lanes) lane.start(rules, *next++);
    for (std::size_t i = 0;; i = (i + 1) % kLanes) {
      if (lanes[i].step(rules)) continue;
      lanes[i].finish();
      if (next == jobs.end()) {
        lanes[i] = lanes[kLanes - 1];
        break;
      }
      lanes[i].start(rules, *next++);
    }
    for (std::size_t i = 0; i < kLanes - 1; ++i) {
      while (lanes[i].step(rules)) continue;
      lanes[i].finish();
    }
  }
  for (; next != jobs.end(); ++next) {
    lanes[0].start(rules, *next);
    while (lanes[0].step(rules)) continue;
    lanes[0].finish();
  }
}

}  // namespace
}  // namespace gpt2x::bpe
