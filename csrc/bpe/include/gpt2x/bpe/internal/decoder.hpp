// Tokens to bytes.
//
// Nearly all tokens are short: copying 16 bytes from a table, whatever the token's length, and going on
// behind its last byte is faster than copying exactly what is needed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

class Decoder {
 public:
  /// Throws FormatError for a special token that is empty, or whose id is taken or Vocabulary::kMaxSize or
  /// more.
  Decoder(const Vocabulary& vocabulary, std::span<const Vocabulary::Entry> special_tokens);

  /// The bytes of a token, special ones included; empty if there is none with that id.
  [[nodiscard]] std::string_view bytes_of(TokenId id) const;

  /// How many bytes the tokens have together. Throws UnknownTokenError naming the first unknown id. `Id` is
  /// an integer type of 16, 32 or 64 bits.
  template <typename Id>
  [[nodiscard]] std::size_t num_bytes(std::span<const Id> ids) const;

  /// How many bytes each token has; `lengths` is as long as `ids`. Throws as num_bytes.
  template <typename Id>
  void lengths(std::span<const Id> ids, std::uint32_t* lengths) const;

  /// Writes the bytes of tokens that num_bytes has seen to `out`, a buffer of `capacity` bytes that is large
  /// enough, and returns where they end. May write to the rest of the buffer, and never behind it: throws
  /// std::invalid_argument for an id that is unknown or finds no room, as when another thread has changed the
  /// ids.
  template <typename Id>
  char* write(std::span<const Id> ids, char* out, std::size_t capacity) const;

 private:
  char* write_one(std::uint64_t id, char* out, const char* end) const;

  // A token as 16 bytes to copy: its own bytes if they are few enough, and their number in the last one.
  static constexpr std::size_t kCopyBytes = 16;
  using Copy = std::array<char, kCopyBytes>;

  // In place of a length that does not fit.
  static constexpr std::uint8_t kLong = 255;

  void set(const Vocabulary::Entry& entry);

  [[nodiscard]] std::size_t length_of(std::uint64_t id) const {
    const std::uint8_t length = id < lengths_.size() ? lengths_[id] : 0;
    return length < kLong ? length : long_tokens_.at(static_cast<TokenId>(id)).size();
  }

  // By id. The lengths stand by themselves too, where they are so small that they stay in the first-level
  // cache: adding them up is the first of two passes over the ids.
  std::vector<std::uint8_t> lengths_;  // 0 for an id that no token has
  std::vector<Copy> copies_;
  std::unordered_map<TokenId, std::string> long_tokens_;
};

}  // namespace gpt2x::bpe
