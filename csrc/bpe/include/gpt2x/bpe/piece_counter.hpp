// The first half of training: how often does each piece occur in a corpus?
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "gpt2x/bpe/pretokenizer.hpp"

namespace gpt2x::bpe {

class PieceTable;

/// Counts of distinct pieces. Counts add up, so a corpus may come in any number of parts and from any number
/// of machines; only which pieces occur and how often decides what is learned from them. Memory grows with
/// the distinct pieces, not with the texts.
class PieceCounter {
 public:
  explicit PieceCounter(Pattern pattern);
  PieceCounter(const PieceCounter& other);
  PieceCounter(PieceCounter&& other);  // which is empty then
  PieceCounter& operator=(PieceCounter other) noexcept;
  ~PieceCounter();

  /// Counts the pieces of a text (a document of its own: no piece reaches into the next text), on up to
  /// `num_threads` threads (0: one for each core). Same counts for any number. A text that does not fit in
  /// memory may be added in parts that end where find_safe_cut says.
  void add(std::string_view text, unsigned num_threads = 1);

  /// Counts one piece, which must not be empty, `count` times more.
  void add_piece(std::string_view piece, std::uint64_t count);

  /// The bytes of all texts: the lengths of all pieces, repeated ones counted each time.
  [[nodiscard]] std::uint64_t num_bytes() const;

  /// All pieces, repeated ones counted each time.
  [[nodiscard]] std::uint64_t num_pieces() const;

  /// Distinct pieces.
  [[nodiscard]] std::size_t num_unique() const;

  /// Calls `use(piece, count)` for every distinct piece, in no particular order. The bytes of a piece stay
  /// where they are until something is added.
  void for_each(const std::function<void(std::string_view, std::uint64_t)>& use) const;

  /// All distinct pieces with their counts: the most frequent first, equally frequent ones in the order of
  /// their bytes. So two counters with the same counts give the same list, however they came by them.
  [[nodiscard]] std::vector<std::pair<std::string_view, std::uint64_t>> items() const;

 private:
  Pattern pattern_;
  std::unique_ptr<PieceTable> table_;
};

}  // namespace gpt2x::bpe
