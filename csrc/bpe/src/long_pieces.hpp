// The tokens of long pieces that were seen before.
//
// Long pieces are rare and seldom come again, but where they do, as rulers of dashes or a picture in base64
// do, merging them anew takes a hundred times as long as comparing them. There are few places; what comes
// last takes its place, and what would take too much memory takes that of all.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

class LongPieces {
 public:
  /// Longer ones must not be asked for.
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

  /// The piece's tokens; empty if it is not known. Valid until the next insert.
  [[nodiscard]] std::span<const TokenId> find(std::string_view piece) const {
    const Entry& entry = entries_[index_of(piece)];
    return entry.piece == piece ? std::span(entry.tokens) : std::span<const TokenId>();
  }

  /// Whether a piece like this one was asked about before: same size, same ends. Most very long pieces never
  /// come again, and keeping one costs as much as merging what is easy to merge.
  bool seen_before(std::string_view piece) {
    const std::size_t print = fingerprint(piece);
    return std::exchange(seen_[print % kNumEntries], print) == print;
  }

  void insert(std::string_view piece, std::span<const TokenId> tokens) {
    const std::size_t index = index_of(piece);
    num_bytes_ -= entries_[index].num_bytes();
    Entry entry{std::string(piece), {tokens.begin(), tokens.end()}};
    if (num_bytes_ + entry.num_bytes() > kMostBytes) {
      entries_ = std::vector<Entry>(kNumEntries);
      num_bytes_ = 0;
    }
    num_bytes_ += entry.num_bytes();
    entries_[index] = std::move(entry);
  }

 private:
  struct Entry {
    std::string piece;
    std::vector<TokenId> tokens;

    [[nodiscard]] std::size_t num_bytes() const { return piece.size() + tokens.size() * sizeof(TokenId); }
  };

  static constexpr std::size_t kNumEntries = 512;

  // All entries together; the largest one fits.
  static constexpr std::size_t kMostBytes = kMaxBytes * (1 + sizeof(TokenId));

  static std::size_t index_of(std::string_view piece) { return fingerprint(piece) % kNumEntries; }

  // Of a very long piece, its size and both ends tell enough.
  static std::size_t fingerprint(std::string_view piece) {
    constexpr std::size_t kEnd = 256;
    const std::hash<std::string_view> hash;
    if (piece.size() <= 2 * kEnd) return hash(piece);
    return (hash(piece.substr(0, kEnd)) ^ hash(piece.substr(piece.size() - kEnd)) >> 1) + piece.size();
  }

  std::vector<Entry> entries_ = std::vector<Entry>(kNumEntries);
  std::array<std::size_t, kNumEntries> seen_{};  // fingerprints
  std::size_t num_bytes_ = 0;
};

}  // namespace gpt2x::bpe
