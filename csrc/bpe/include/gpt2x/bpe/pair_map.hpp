// A hash map from token pairs to 32-bit numbers: merges to ranks while encoding, pairs to statistics while
// training.
//
// Open addressing with linear probing in one array of 12-byte slots, at most half full: a lookup is one
// multiplication and, nearly always, one cache line, where std::unordered_map follows two pointers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "gpt2x/bpe/types.hpp"

namespace gpt2x::bpe {

class PairMap {
 public:
  static constexpr std::uint32_t kAbsent = std::numeric_limits<std::uint32_t>::max();

  /// The number under `pair`, or kAbsent.
  [[nodiscard]] std::uint32_t find(TokenPair pair) const { return slots_[slot_of(pair)].value; }

  /// Puts `value` (not kAbsent) under `pair` if nothing is there; returns what is there now.
  std::uint32_t insert(TokenPair pair, std::uint32_t value);

  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  struct Slot {
    TokenPair pair{};
    std::uint32_t value = kAbsent;
  };

  /// Where `pair` is, or the empty slot where it would go. There is always an empty slot.
  [[nodiscard]] std::size_t slot_of(TokenPair pair) const {
    // Fibonacci hashing: the top bits of a product depend on every bit of the key.
    const std::uint64_t key = std::uint64_t{pair.left} << 32 | pair.right;
    std::size_t slot = (key * 0x9E3779B97F4A7C15u) >> shift_;
    while (slots_[slot].value != kAbsent && slots_[slot].pair != pair) {
      slot = (slot + 1) & (slots_.size() - 1);
    }
    return slot;
  }

  void grow();

  unsigned shift_ = 64 - 4;
  std::size_t size_ = 0;
  std::vector<Slot> slots_ = std::vector<Slot>(std::size_t{1} << 4);
};

}  // namespace gpt2x::bpe
