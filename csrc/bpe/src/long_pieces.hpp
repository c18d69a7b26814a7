// The tokens of long pieces that were seen before.
//
// Long pieces are rare and seldom come again, but where they do, as rulers of dashes do, merging them anew
// takes a hundred times as long as comparing them. There are few places; what comes last takes its place.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

class LongPieces {
 public:
  /// Longer ones are not kept, so that all of them together stay below three megabytes.
  static constexpr std::size_t kMaxBytes = 1024;

  /// The piece's tokens; empty if it is not known. Valid until the next insert.
  [[nodiscard]] std::span<const TokenId> find(std::string_view piece) const {
    if (piece.size() > kMaxBytes) return {};
    const Entry& entry = entries_[index_of(piece)];
    return entry.piece == piece ? std::span(entry.tokens) : std::span<const TokenId>();
  }

  void insert(std::string_view piece, std::span<const TokenId> tokens) {
    if (piece.size() > kMaxBytes) return;
    Entry& entry = entries_[index_of(piece)];
    entry.piece = piece;
    entry.tokens.assign(tokens.begin(), tokens.end());
  }

 private:
  struct Entry {
    std::string piece;
    std::vector<TokenId> tokens;
  };

  static constexpr std::size_t kNumEntries = 512;

  static std::size_t index_of(std::string_view piece) {
    return std::hash<std::string_view>()(piece) % kNumEntries;
  }

  std::array<Entry, kNumEntries> entries_;
};

}  // namespace gpt2x::bpe
