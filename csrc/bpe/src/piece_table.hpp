// The hash table behind PieceCounter.
//
// Nearly all pieces of a text are short words that have been there before, so the table is made for finding
// those: a slot holds a piece of up to eleven bytes, its length and its count in 16 bytes. Four slots share a
// cache line, one comparison of two integers decides, and nothing is ever followed. Longer pieces lie in a
// BytePool.
//
// The hash also picks one of a few shards. The shards of several tables can be added up by several threads at
// once, and growing moves a small part of the table at a time.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gpt2x/bpe/internal/byte_pool.hpp"
#include "gpt2x/bpe/internal/hash_key.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"

namespace gpt2x::bpe {

/// A short piece as two integers: its bytes, zeros after them, and in the top byte of `tail` its length.
struct ShortKey {
  static constexpr std::size_t kMaxSize = 11;

  std::uint64_t head = 0;
  std::uint32_t tail = 0;

  /// The key of a piece of 1 to kMaxSize bytes.
  static ShortKey of(std::string_view piece) {
    std::array<char, kReadable> bytes{};
    std::memcpy(bytes.data(), piece.data(), piece.size());
    return of_readable(bytes.data(), piece.size());
  }

  /// The same where kReadable bytes may be read from `data` on, whatever comes after the piece.
  static ShortKey of_readable(const char* data, std::size_t size) {
    ShortKey key;
    std::memcpy(&key.head, data, sizeof key.head);
    std::memcpy(&key.tail, data + sizeof key.head, sizeof key.tail);
    key.head &= kHeadMasks[size];
    key.tail = (key.tail & kTailMasks[size]) | static_cast<std::uint32_t>(size) << 24;
    return key;
  }

  [[nodiscard]] std::size_t size() const { return tail >> 24; }

  [[nodiscard]] std::uint64_t hash(const HashKey& secret) const { return secret.mix(head, tail); }

  friend bool operator==(const ShortKey&, const ShortKey&) = default;

  static constexpr std::size_t kReadable = 12;

 private:
  static_assert(std::endian::native == std::endian::little, "the masks keep the bytes that come first");

  static constexpr auto kHeadMasks = [] {
    std::array<std::uint64_t, kMaxSize + 1> masks{};
    for (std::size_t size = 0; size <= kMaxSize; ++size) {
      masks[size] = size >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << 8 * size) - 1;
    }
    return masks;
  }();
  static constexpr auto kTailMasks = [] {
    std::array<std::uint32_t, kMaxSize + 1> masks{};
    for (std::size_t size = 8; size <= kMaxSize; ++size) {
      masks[size] = (std::uint32_t{1} << 8 * (size - 8)) - 1;
    }
    return masks;
  }();
};

/// The pieces of one shard.
class PieceShard {
 public:
  struct Slot {
    std::uint64_t head = 0;
    std::uint32_t tail = 0;   // 0 where the slot is empty
    std::uint32_t count = 0;  // the low half; see carries_

    [[nodiscard]] ShortKey key() const { return {head, tail}; }
    [[nodiscard]] std::string_view piece() const {
      return {reinterpret_cast<const char*>(&head), key().size()};
    }

    /// Counts the piece once more if it is the one in this slot and the count is below its limit.
    bool try_increment(const ShortKey& piece_key) {
      if (key() != piece_key || count == std::numeric_limits<std::uint32_t>::max()) return false;
      ++count;
      return true;
    }
  };
  static_assert(sizeof(Slot) == 16 && offsetof(Slot, tail) == 8, "piece() reads across head and tail");

  /// The slot in which a piece is looked for first, and nearly always found; valid until slots move.
  Slot* home(std::uint64_t hash) { return &slots_[home_index(hash)]; }

  /// Counts a short piece `count` times more; true if the slots have moved.
  bool add(const ShortKey& key, std::uint64_t hash, std::uint64_t count);

  void add_long(std::string_view piece, std::uint64_t count);

  /// Adds all counts of another shard of the same number.
  void add(const PieceShard& other);

  [[nodiscard]] std::size_t num_unique() const { return num_short_ + long_counts_.size(); }

  template <typename Use>
  void for_each(const Use& use) const;

 private:
  /// The top bits of the hash choose the shard, those below the slot.
  [[nodiscard]] std::size_t home_index(std::uint64_t hash) const { return hash << kShardBits >> shift_; }

  Slot& find(const ShortKey& key, std::uint64_t hash);
  void grow();
  [[nodiscard]] std::uint64_t count_of(const Slot& slot) const;

  friend class PieceTable;
  static constexpr unsigned kShardBits = 4;
  static constexpr unsigned kFirstBits = 6;

  HashKey hash_key_ = hash_key();
  unsigned shift_ = 64 - kFirstBits;
  std::size_t num_short_ = 0;
  std::vector<Slot> slots_ = std::vector<Slot>(std::size_t{1} << kFirstBits);
  std::unordered_map<std::string, std::uint64_t> carries_;  // the high halves of counts of 2^32 and more
  BytePool long_pieces_;                                    // numbered in the order of arrival
  std::vector<std::uint64_t> long_counts_;
};

/// All pieces that one thread has counted.
class PieceTable {
 public:
  static constexpr std::size_t kNumShards = std::size_t{1} << PieceShard::kShardBits;

  void add_text(Pattern pattern, std::string_view text);
  void add_piece(std::string_view piece, std::uint64_t count);

  /// Adds one shard of another table, and frees it there. Threads may add different shards at the same time.
  void take_shard(PieceTable& other, std::size_t shard);

  /// Adds the totals of another table, whose shards are taken one by one.
  void add_totals(const PieceTable& other);

  [[nodiscard]] std::uint64_t num_bytes() const { return num_bytes_; }
  [[nodiscard]] std::uint64_t num_pieces() const { return num_pieces_; }
  [[nodiscard]] std::size_t num_unique() const;

  void for_each(const std::function<void(std::string_view, std::uint64_t)>& use) const;

 private:
  class Batch;

  PieceShard& shard_of(std::uint64_t hash) { return shards_[hash >> (64 - PieceShard::kShardBits)]; }
  void add_long(std::string_view piece, std::uint64_t count);

  HashKey hash_key_ = hash_key();
  std::uint64_t num_bytes_ = 0;
  std::uint64_t num_pieces_ = 0;
  std::array<PieceShard, kNumShards> shards_;
};

}  // namespace gpt2x::bpe
