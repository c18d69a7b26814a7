// A hash map from token pairs to 32-bit numbers: merges to ranks while encoding.
//
// Open addressing with linear probing in one array of 12-byte slots, at most half full. Most pairs that are
// asked for do not merge, so a filter answers first: one bit for each of eight times as many places as there
// are slots. It is small enough to stay in the second-level cache, where the slots do not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "gpt2x/bpe/types.hpp"

namespace gpt2x::bpe {

class PairMap {
  struct Slot {
    TokenId left = 0;
    TokenId right = 0;
    std::uint32_t value = std::numeric_limits<std::uint32_t>::max();  // kAbsent
  };

  static constexpr unsigned kFilterShift = 3;

  /// Fibonacci hashing: the top bits of the product depend on every bit of the key.
  [[gnu::always_inline]] static std::uint64_t hash_of(TokenPair pair) {
    return (std::uint64_t{pair.left} << 32 | pair.right) * 0x9E3779B97F4A7C15u;
  }

 public:
  static constexpr std::uint32_t kAbsent = std::numeric_limits<std::uint32_t>::max();

  /// For looking up alone: a few pointers that a loop can keep in registers. Valid until the next insert.
  class View {
   public:
    /// The number under `pair`, or kAbsent.
    [[nodiscard, gnu::always_inline]] std::uint32_t find(TokenPair pair) const {
      const std::uint64_t hash = hash_of(pair);
      const std::uint64_t bit = hash >> (shift_ - kFilterShift);
      const std::uint64_t maybe = filter_[bit / 64] >> bit % 64 & 1;
      // Whether the filter says yes cannot be predicted, so it does not decide about a branch but about a
      // slot: behind all others there is one that is always empty.
      const std::size_t nowhere = (~std::uint64_t{0} >> shift_) + 1;
      return slots_[probe(maybe != 0 ? hash >> shift_ : nowhere, pair)].value;
    }

   private:
    friend PairMap;

    /// Where `pair` is, or the empty slot where it would go, from `slot` on. There is always an empty slot.
    [[nodiscard, gnu::always_inline]] std::size_t probe(std::size_t slot, TokenPair pair) const {
      // One condition that is nearly always false, rather than two that cannot be predicted.
      while ((slots_[slot].value != kAbsent) &
             ((slots_[slot].left ^ pair.left | slots_[slot].right ^ pair.right) != 0)) {
        slot = (slot + 1) & (~std::uint64_t{0} >> shift_);
      }
      return slot;
    }

    const Slot* slots_;
    const std::uint64_t* filter_;
    unsigned shift_;
  };

  [[nodiscard]] View view() const {
    View view;
    view.slots_ = slots_.data();
    view.filter_ = filter_.data();
    view.shift_ = shift_;
    return view;
  }

  /// The number under `pair`, or kAbsent.
  [[nodiscard]] std::uint32_t find(TokenPair pair) const { return view().find(pair); }

  /// Puts `value` (not kAbsent) under `pair` if nothing is there; returns what is there now.
  std::uint32_t insert(TokenPair pair, std::uint32_t value);

  [[nodiscard]] std::size_t size() const { return size_; }

  /// Makes room for as many pairs in all.
  void reserve(std::size_t num_pairs) {
    while (2 * num_pairs >= slots_.size()) grow();
  }

 private:
  static constexpr unsigned kFirstBits = 4;

  [[nodiscard]] std::size_t slot_of(TokenPair pair) const {
    return view().probe(hash_of(pair) >> shift_, pair);
  }
  void put(Slot& slot, const Slot& contents);
  void grow();

  unsigned shift_ = 64 - kFirstBits;
  std::size_t size_ = 0;
  std::vector<Slot> slots_ = std::vector<Slot>((std::size_t{1} << kFirstBits) + 1);
  std::vector<std::uint64_t> filter_ =
      std::vector<std::uint64_t>((std::size_t{1} << (kFirstBits + kFilterShift)) / 64);
};

}  // namespace gpt2x::bpe
