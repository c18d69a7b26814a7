// A hash map from token pairs to 32-bit numbers: merges to ranks.
//
// Lookups come one after the other in the innermost loop of encoding, and whether a pair is here cannot be
// predicted; so there is nothing to predict. A bucket is one cache line of four slots for pairs, all of
// which are compared, and the answer is computed. Most pairs that are asked for do not merge: a filter, one
// bit for each of 32 times as many places as there are buckets, sends them to an empty bucket that is always
// at hand. The filter is small enough for the second-level cache, where the buckets are not.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "gpt2x/bpe/internal/hash_key.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

class PairMap {
  static constexpr std::size_t kPlaces = 4;

  struct alignas(64) Bucket {
    std::array<std::uint64_t, kPlaces> keys{kNoKey, kNoKey, kNoKey, kNoKey};
    // By place; the last one is the answer for a key that is not here.
    std::array<std::uint32_t, kPlaces + 1> values{0, 0, 0, 0, kNothing};
    bool overflowed = false;  // some pair had to go to the next bucket
  };

  static constexpr std::uint64_t kNoKey = std::numeric_limits<std::uint64_t>::max();
  static constexpr std::uint32_t kNothing = std::numeric_limits<std::uint32_t>::max();
  static constexpr unsigned kFilterShift = 5;

  [[gnu::always_inline]] static std::uint64_t key_of(TokenPair pair) {
    return std::uint64_t{pair.left} << 32 | pair.right;
  }

 public:
  static constexpr std::uint32_t kAbsent = kNothing;

  PairMap() = default;
  /// Large enough for as many pairs.
  explicit PairMap(std::size_t num_pairs) {
    while (num_pairs > 2 * num_buckets()) grow();
  }

  /// For looking up alone: a few pointers that a loop can keep in registers. Valid until the next insert.
  class View {
   public:
    /// The number under `pair`, or kAbsent. A pair with kNoToken on both sides must not be asked for.
    [[nodiscard, gnu::always_inline]] std::uint32_t find(TokenPair pair) const {
      const std::uint64_t key = key_of(pair);
      const std::uint64_t hash = key * multiplier_;
      const std::uint64_t bit = hash >> (shift_ - kFilterShift);
      const std::uint64_t maybe = filter_[bit / 64] >> bit % 64 & 1;
      const std::uint64_t nowhere = (~std::uint64_t{0} >> shift_) + 1;
      const Bucket* bucket = buckets_ + ((hash >> shift_ & (0 - maybe)) | (nowhere & (maybe - 1)));
      std::size_t place = place_in(*bucket, key);
      while (bucket->overflowed && place == kPlaces) [[unlikely]] {
        bucket = buckets_ + ((static_cast<std::uint64_t>(bucket - buckets_) + 1) & (nowhere - 1));
        place = place_in(*bucket, key);
      }
      return bucket->values[place];
    }

   private:
    friend PairMap;

    [[gnu::always_inline]] static std::size_t place_in(const Bucket& bucket, std::uint64_t key) {
      unsigned matches = 1u << kPlaces;
      for (std::size_t i = 0; i < kPlaces; ++i) matches |= unsigned{bucket.keys[i] == key} << i;
      return static_cast<std::size_t>(std::countr_zero(matches));
    }

    const Bucket* buckets_;
    const std::uint64_t* filter_;
    std::uint64_t multiplier_;
    unsigned shift_;
  };

  [[nodiscard]] View view() const {
    View view;
    view.buckets_ = buckets_.data();
    view.filter_ = filter_.data();
    view.multiplier_ = multiplier_;
    view.shift_ = shift_;
    return view;
  }

  /// The number under `pair`, or kAbsent.
  [[nodiscard]] std::uint32_t find(TokenPair pair) const { return view().find(pair); }

  /// Puts `value` (not kAbsent) under `pair` if nothing is there; returns what is there now.
  std::uint32_t insert(TokenPair pair, std::uint32_t value);

  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  static constexpr unsigned kFirstBits = 2;

  [[nodiscard]] std::size_t num_buckets() const { return buckets_.size() - 1; }
  void put(std::uint64_t key, std::uint32_t value);
  void grow();

  /// The top bits of the product depend on every bit of a key, and on what no file can know.
  std::uint64_t multiplier_ = hash_key().multiplier;
  unsigned shift_ = 64 - kFirstBits;
  std::size_t size_ = 0;
  std::vector<Bucket> buckets_ =
      std::vector<Bucket>((std::size_t{1} << kFirstBits) + 1);  // the last is empty
  std::vector<std::uint64_t> filter_ =
      std::vector<std::uint64_t>((std::size_t{1} << (kFirstBits + kFilterShift)) / 64);
};

}  // namespace gpt2x::bpe
