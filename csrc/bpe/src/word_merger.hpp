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
    const std::size_t size = job.bytes.size();
    limit_ = job.rank_limit < (kNone >> kPlaceBits) ? job.rank_limit << kPlaceBits : kNone;
    starts_ = (2u << (size + 1)) - 1;
    tokens_[0] = tokens_[size + 1] = kNoToken;
    std::fill_n(merges_, kMaxWordBytes + 2, kNone);
    const auto byte_at = [&](std::size_t i) { return static_cast<std::uint8_t>(job.bytes[i]); };
    for (std::size_t i = 0; i < size; ++i) tokens_[i + 1] = rules.byte_tokens[byte_at(i)];
    for (std::size_t i = 0; i + 1 < size; ++i) {
      merges_[i + 1] = merge_at(i + 1, rules.byte_merges[std::size_t{byte_at(i)} << 8 | byte_at(i + 1)]);
    }
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
    std::uint32_t count = 0;
    const auto end = static_cast<std::uint32_t>(job_->bytes.size() + 1);
    for (std::uint32_t place = 1; place != end; place = next_start(place))
      job_->tokens[count++] = tokens_[place];
    job_->num_tokens = count;
  }

 private:
  static constexpr std::uint32_t kNone = ~0u;
  static constexpr unsigned kPlaceBits = 5;

  static std::uint32_t merge_at(std::size_t place, TokenId rank) {
    return rank == kNoToken ? kNone : rank << kPlaceBits | static_cast<std::uint32_t>(place);
  }

  [[nodiscard]] std::uint32_t next_start(std::uint32_t place) const {
    return place + 1 + std::countr_zero(starts_ >> place >> 1);
  }

  [[nodiscard]] std::uint32_t find_lowest() const {
    std::uint32_t lowest = kNone;
    for (std::size_t i = 1; i <= kMaxWordBytes; ++i) lowest = std::min(lowest, merges_[i]);
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
  std::size_t num_active = 0;
  auto next = jobs.begin();
  for (; num_active < kLanes && next != jobs.end(); ++num_active) lanes[num_active].start(rules, *next++);
  while (num_active > 0) {
    for (std::size_t i = 0; i < num_active;) {
      if (lanes[i].step(rules)) {
        ++i;
        continue;
      }
      lanes[i].finish();
      if (next != jobs.end()) {
        lanes[i++].start(rules, *next++);
      } else {
        lanes[i] = lanes[--num_active];
      }
    }
  }
}

}  // namespace
}  // namespace gpt2x::bpe
