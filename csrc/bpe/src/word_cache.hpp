// The tokens of pieces that were seen before.
//
// Text repeats itself: nearly every piece of a text has been met already. An entry holds a whole piece (no
// pointer to follow) and all its tokens, so that a hit costs one cache line and no comparison of strings. The
// last byte of a key is the piece's length, the last lane of an entry the number of tokens.
//
// Entries stand in buckets of two; the one that was used last stands first, so that nearly every hit is the
// first entry that is looked at. When a newcomer comes, the other one moves to the second place of the bucket
// next door, and what was there is lost. A table in which that happens too often doubles, up to a limit.
//
// A new table is small: clearing large pages takes longer than encoding a few kilobytes, and a text of that
// size is often all that a process encodes. It takes its usual size as soon as it has as many entries as
// buckets.
//
// What the kernels use of this is always inlined, since they are compiled several times (see target.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "gpt2x/bpe/internal/hash_key.hpp"
#include "gpt2x/bpe/vocabulary.hpp"
#include "huge_array.hpp"

namespace gpt2x::bpe {

/// A piece of up to 8 * kWords - 1 bytes as numbers that are quick to compare: its bytes, zeros, its length.
template <std::size_t kWords>
struct PieceKey {
  static constexpr std::size_t kMaxBytes = 8 * kWords - 1;

  std::array<std::uint64_t, kWords> words;

  /// The key of a piece of at most kMaxBytes; 8 * kWords bytes must be readable at `piece`.
  [[gnu::always_inline]] static PieceKey from_readable(const char* piece, std::size_t size) {
    PieceKey key;
    std::memcpy(&key.words, piece, sizeof key.words);
    const Mask& mask = kMasks[size];
    for (std::size_t i = 0; i < kWords; ++i) key.words[i] &= mask[i];
    key.words.back() |= std::uint64_t{size} << 56;
    return key;
  }

  /// The same for a piece of any length, behind which nothing is read. One that is too long gets a key that
  /// is nobody's.
  static PieceKey from_exact(const char* piece, std::size_t size) {
    PieceKey key{};
    if (size > kMaxBytes) {
      key.words.back() = ~std::uint64_t{0};
      return key;
    }
    std::memcpy(&key.words, piece, size);
    key.words.back() |= std::uint64_t{size} << 56;
    return key;
  }

  [[nodiscard, gnu::always_inline]] std::uint64_t hash() const {
    std::uint64_t state = 0;
    for (std::size_t i = 0; i < kWords; i += 2) {
      state = fold(state ^ words[i] ^ 0x9E3779B97F4A7C15u, words[i + 1] ^ 0xD1B54A32D192ED03u);
    }
    return state;
  }

  /// 0 if and only if the keys are the same.
  [[nodiscard, gnu::always_inline]] std::uint64_t difference(const PieceKey& other) const {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < kWords; ++i) bits |= words[i] ^ other.words[i];
    return bits;
  }

 private:
  using Mask = std::array<std::uint64_t, kWords>;

  static constexpr std::array<Mask, 8 * kWords> make_masks() {
    std::array<Mask, 8 * kWords> masks{};
    for (std::size_t size = 0; size < masks.size(); ++size) {
      for (std::size_t byte = 0; byte < size; ++byte) {
        masks[size][byte / 8] |= std::uint64_t{0xFF} << 8 * (byte % 8);
      }
    }
    return masks;
  }
  static constexpr std::array<Mask, 8 * kWords> kMasks = make_masks();
};

/// `Id` is wide enough for all of a vocabulary's ids: std::uint16_t or std::uint32_t.
template <std::size_t kWords, typename Id>
class WordCache {
 public:
  using Key = PieceKey<kWords>;
  static constexpr std::size_t kLanes = 8 * kWords / sizeof(Id);
  static constexpr std::size_t kMaxTokens = kLanes - 1;

  struct alignas(16 * kWords) Entry {
    Key key;
    std::array<Id, kLanes> lanes;

    [[nodiscard, gnu::always_inline]] std::size_t count() const { return lanes.back(); }

    /// Writes all lanes, of which the first count() matter, and returns where the next tokens go.
    [[gnu::always_inline]] TokenId* write_to(TokenId* out) const {
      for (std::size_t i = 0; i < kLanes; ++i) out[i] = lanes[i];
      return out + count();
    }
  };

  /// Numbers of buckets, all of them powers of two.
  struct Sizes {
    std::size_t first;
    std::size_t usual;
    std::size_t most;
  };

  explicit WordCache(const Sizes& sizes)
      : sizes_(sizes), num_buckets_(sizes.first), entries_(2 * sizes.first) {}

  /// Where a key with a certain hash may be: two entries.
  class Buckets {
   public:
    [[gnu::always_inline]] Entry* operator[](std::uint64_t hash) const { return first_ + 2 * (hash & mask_); }

   private:
    friend WordCache;
    Buckets(Entry* first, std::uint64_t mask) : first_(first), mask_(mask) {}
    Entry* first_;
    std::uint64_t mask_;
  };

  /// Valid until the table grows.
  [[nodiscard]] Buckets buckets() { return {&entries_[0], num_buckets_ - 1}; }
  [[nodiscard]] Entry* bucket(std::uint64_t hash) { return buckets()[hash]; }

  /// The key's entry, first in its bucket from now on, or null. `bucket` is the one of the key's hash.
  const Entry* find_in(Entry* bucket, const Key& key) {
    if (bucket[0].key.difference(key) == 0) return bucket;
    if (bucket[1].key.difference(key) == 0) {
      std::swap(bucket[0], bucket[1]);
      return bucket;
    }
    Entry& moved = second_next_door(bucket);
    if (moved.key.difference(key) != 0) return nullptr;
    const Entry found = moved;
    push(bucket, found);
    return bucket;
  }

  /// Takes in a key that is not there, and keeps its tokens if they are few enough.
  void insert(const Key& key, std::span<const TokenId> tokens) {
    if (tokens.size() > kMaxTokens) return;
    Entry entry;
    entry.key = key;
    entry.lanes = {};
    for (std::size_t i = 0; i < tokens.size(); ++i) entry.lanes[i] = static_cast<Id>(tokens[i]);
    entry.lanes.back() = static_cast<Id>(tokens.size());
    Entry* const entries = bucket(key.hash());
    ++num_inserted_;
    num_lost_ += second_next_door(entries).count() != 0;
    push(entries, entry);
  }

  /// Enlarges the table if it is still the first one and no longer sparse, or if many entries were lost since
  /// the last time; invalidates what buckets() returned.
  void grow_if_crowded() {
    if (num_buckets_ < sizes_.usual) {
      if (num_inserted_ >= num_buckets_) grow_to(sizes_.usual);
    } else if (num_lost_ >= num_buckets_ / 8 && num_buckets_ < sizes_.most) {
      grow_to(2 * num_buckets_);
    }
  }

 private:
  /// The second entry of the other bucket of a pair of buckets.
  Entry& second_next_door(Entry* bucket) {
    const auto index = static_cast<std::size_t>(bucket - &entries_[0]) / 2;
    return entries_[2 * (index ^ 1) + 1];
  }

  /// Puts an entry first; the others of the bucket move on by one place.
  void push(Entry* bucket, const Entry& entry) {
    second_next_door(bucket) = bucket[1];
    bucket[1] = bucket[0];
    bucket[0] = entry;
  }

  [[gnu::noinline]] void grow_to(std::size_t num_buckets) {
    const std::size_t num_entries = 2 * std::exchange(num_buckets_, num_buckets);
    const HugeArray<Entry> old = std::exchange(entries_, HugeArray<Entry>(2 * num_buckets));
    num_lost_ = 0;
    for (std::size_t i = num_entries; i-- > 0;) {  // the older one of a bucket first
      if (old[i].count() != 0) push(bucket(old[i].key.hash()), old[i]);
    }
  }

  Sizes sizes_;
  std::size_t num_buckets_;
  std::size_t num_inserted_ = 0;
  std::size_t num_lost_ = 0;
  HugeArray<Entry> entries_;
};

}  // namespace gpt2x::bpe
