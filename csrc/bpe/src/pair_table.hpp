// Pairs and how often they occur, for the trainer.
//
// Open addressing with linear probing, at most five eighths full. Statistics lie in the slots themselves, so
// the usual question (this pair now occurs less often) costs one cache line, and answers of "not here" one
// too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "gpt2x/bpe/internal/hash_key.hpp"

namespace gpt2x::bpe {

/// Two symbols: the left one in the upper half. Symbols are not 0, so 0 is no pair. Keys compare as pairs do.
using PairKey = std::uint64_t;

constexpr PairKey pair_key(std::uint32_t left, std::uint32_t right) {
  return PairKey{left} << 32 | right;
}

/// What is known of a pair.
struct PairStats {
  PairKey key = 0;
  std::uint64_t count = 0;
  std::uint32_t first_posting = 0;  // where in the trainer's postings its places lie
  std::uint32_t num_postings = 0;
};

class PairTable {
 public:
  /// The pair's statistics, or nullptr; valid until something is inserted.
  [[nodiscard]] PairStats* find(PairKey key) {
    PairStats& slot = slots_[slot_of(key)];
    return slot.key == key ? &slot : nullptr;
  }

  /// The pair's statistics, made if there are none; valid until something else is inserted.
  PairStats& insert(PairKey key) {
    if (size_ + 1 > slots_.size() / 8 * 5) grow();
    PairStats& slot = slots_[slot_of(key)];
    if (slot.key == 0) {
      slot.key = key;
      ++size_;
    }
    return slot;
  }

  /// Asks for the memory where `key` would be.
  void prefetch(PairKey key) const { __builtin_prefetch(&slots_[home(key)]); }

  /// Calls `use` for every pair.
  template <typename Use>
  void for_each(const Use& use) {
    for (PairStats& slot : slots_) {
      if (slot.key != 0) use(slot);
    }
  }

  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  static constexpr unsigned kFirstBits = 8;

  [[nodiscard]] std::size_t home(PairKey key) const { return hash_key_.mix(key) >> shift_; }

  [[nodiscard]] std::size_t slot_of(PairKey key) const {
    std::size_t slot = home(key);
    while (slots_[slot].key != key && slots_[slot].key != 0) slot = (slot + 1) & (slots_.size() - 1);
    return slot;
  }

  void grow() {
    const std::vector<PairStats> old = std::exchange(slots_, std::vector<PairStats>(slots_.size() * 2));
    --shift_;
    for (const PairStats& slot : old) {
      if (slot.key != 0) slots_[slot_of(slot.key)] = slot;
    }
  }

  HashKey hash_key_ = hash_key();
  unsigned shift_ = 64 - kFirstBits;
  std::size_t size_ = 0;
  std::vector<PairStats> slots_ = std::vector<PairStats>(std::size_t{1} << kFirstBits);
};

}  // namespace gpt2x::bpe
