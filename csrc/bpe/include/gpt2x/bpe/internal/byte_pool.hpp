// Distinct byte strings, each under a number that its owner chooses, and the way back from the bytes to the
// number: tokens under their ids in a vocabulary, pieces under their order of arrival while counting.
//
// All bytes lie in one arena. The hash table keeps the first eight bytes and the length of a string in its
// slot, so that the usual lookup (most words are short) is decided there, without a jump into the arena.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/internal/hash_key.hpp"

namespace gpt2x::bpe {

class BytePool {
 public:
  static constexpr std::uint32_t kAbsent = std::numeric_limits<std::uint32_t>::max();

  /// The number of `bytes`, or kAbsent.
  [[nodiscard]] std::uint32_t find(std::string_view bytes) const { return slots_[slot_of(bytes)].number; }

  /// Asks for the memory that find(bytes) looks at first.
  void prefetch(std::string_view bytes) const {
    __builtin_prefetch(&slots_[hash(load_head(bytes), bytes) & (slots_.size() - 1)]);
  }

  /// Puts `bytes` under `number` (not kAbsent, not in use) unless they are here; returns the number they have
  /// now. Throws std::length_error when the pool would outgrow 4 GiB.
  std::uint32_t insert(std::string_view bytes, std::uint32_t number);

  /// The bytes under `number`; empty if it is not in use.
  [[nodiscard]] std::string_view operator[](std::uint32_t number) const {
    if (number >= spans_.size()) return {};
    return {arena_.data() + spans_[number].offset, spans_[number].length};
  }

  /// One more than the largest number in use.
  [[nodiscard]] std::size_t number_limit() const { return spans_.size(); }

  /// How many strings are here.
  [[nodiscard]] std::size_t size() const { return size_; }

  static_assert(std::endian::native == std::endian::little, "load_head assumes that low bytes come first");

  /// The first eight bytes as a number, the first of them lowest, zeros after a shorter string. Reads nothing
  /// outside the string: overlapping loads cover what is there.
  static std::uint64_t load_head(std::string_view bytes) {
    const char* data = bytes.data();
    const std::size_t size = bytes.size();
    if (size >= 8) return load<std::uint64_t>(data);
    if (size >= 4) return load<std::uint32_t>(data) | load<std::uint32_t>(data + size - 4) << 8 * (size - 4);
    if (size == 0) return 0;
    return load<std::uint8_t>(data) | load<std::uint8_t>(data + size / 2) << 8 * (size / 2) |
           load<std::uint8_t>(data + size - 1) << 8 * (size - 1);
  }

 private:
  struct Span {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
  };

  struct Slot {
    std::uint64_t head = 0;  // the first eight bytes, zeros after a shorter string
    std::uint32_t length = 0;
    std::uint32_t number = kAbsent;
  };

  template <typename Unsigned>
  static std::uint64_t load(const char* data) {
    Unsigned value;
    std::memcpy(&value, data, sizeof value);
    return value;
  }

  [[nodiscard]] std::uint64_t hash(std::uint64_t head, std::string_view bytes) const {
    std::uint64_t state = key_.mix(head ^ bytes.size() << 56);
    for (std::size_t i = 8; i < bytes.size(); i += 8) state = key_.mix(state ^ load_head(bytes.substr(i)));
    return state;
  }

  /// Where `bytes` are, or the empty slot where they would go. There is always an empty slot.
  [[nodiscard]] std::size_t slot_of(std::string_view bytes) const {
    const std::uint64_t head = load_head(bytes);
    std::size_t slot = hash(head, bytes) & (slots_.size() - 1);
    while (slots_[slot].number != kAbsent && !holds(slots_[slot], head, bytes)) {
      slot = (slot + 1) & (slots_.size() - 1);
    }
    return slot;
  }

  [[nodiscard]] bool holds(const Slot& slot, std::uint64_t head, std::string_view bytes) const {
    if (slot.head != head || slot.length != bytes.size()) return false;
    return bytes.size() <= 8 || (*this)[slot.number].substr(8) == bytes.substr(8);
  }

  void grow();

  HashKey key_ = hash_key();
  std::size_t size_ = 0;
  std::string arena_;
  std::vector<Span> spans_;  // by number
  std::vector<Slot> slots_ = std::vector<Slot>(16);
};

}  // namespace gpt2x::bpe
