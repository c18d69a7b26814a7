// The first half of training: how often does each piece occur in a corpus?
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/byte_pool.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"

namespace gpt2x::bpe {

/// Counts of distinct pieces. Counts add up, so a corpus may come in any number of parts and from any number
/// of machines; only which pieces occur and how often decides what is learned from them.
class PieceCounter {
 public:
  explicit PieceCounter(Pattern pattern) : pattern_(pattern) {}

  /// Counts the pieces of a text (a document of its own: no piece reaches into the next text), on up to
  /// `num_threads` threads (0: one for each core). Same counts, in the same order, for any number.
  void add(std::string_view text, unsigned num_threads = 1);

  /// Counts one piece `count` times more.
  void add_piece(std::string_view piece, std::uint64_t count);

  /// All pieces, repeated ones counted each time.
  [[nodiscard]] std::uint64_t num_pieces() const { return num_pieces_; }

  /// Distinct pieces; they are numbered from 0 in the order in which they first occurred.
  [[nodiscard]] std::size_t num_unique() const { return counts_.size(); }

  [[nodiscard]] std::string_view piece(std::size_t index) const {
    return pool_[static_cast<std::uint32_t>(index)];
  }
  [[nodiscard]] std::uint64_t count(std::size_t index) const { return counts_[index]; }

 private:
  Pattern pattern_;
  std::uint64_t num_pieces_ = 0;
  BytePool pool_;
  std::vector<std::uint64_t> counts_;
};

}  // namespace gpt2x::bpe
