// Training: how often each piece occurs in a corpus, then which pairs to merge, learned from these counts.
//
// The rule: merge the pair that occurs most often; of several, the one with the smaller (left id, right id).
// Ids 0 to 255 are the bytes, in the order that LearnOptions says; the i-th merge makes id 256 + i.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "gpt2x/bpe/byte_order.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

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

/// Which bytes the ids 0 to 255 are.
enum class ByteOrder : std::uint8_t {
  kGpt2,  ///< gpt2_byte_order()
  kRaw,   ///< the id of a byte is its value
};

/// One learned merge, and how often the pair occurred when it was chosen.
struct Merge {
  TokenId left;
  TokenId right;
  std::uint64_t count;

  friend bool operator==(const Merge&, const Merge&) = default;
};

struct LearnOptions {
  /// No more merges than this are learned. The fewer, the less has to be kept track of.
  std::size_t max_merges = std::numeric_limits<std::size_t>::max();
  /// Pairs that occur less often are not merged (nor pairs that do not occur, whatever this is).
  std::uint64_t min_frequency = 1;
  ByteOrder byte_order = ByteOrder::kGpt2;
  /// Merges that have been learned before: they are made first, and the first new one makes id 256 + their
  /// number. With the same counts the new ones are those that would have come next.
  std::span<const TokenPair> continue_from = {};
};

/// Learns one merge at a time, so that the caller decides when to stop, and what to do in between.
///
/// Time and memory are in proportion to the symbols that are merged, plus the logarithms of a heap, whatever
/// the lengths of pieces; also when the corpus is a single piece of a megabyte.
class MergeLearner {
 public:
  /// Copies what it needs of the corpus. Throws std::length_error for 4 GiB or more of distinct pieces,
  /// std::invalid_argument if a merge in `continue_from` joins ids that do not exist by then, or that an
  /// earlier one has joined.
  explicit MergeLearner(const PieceCounter& corpus, const LearnOptions& options = {});

  /// The same; frees the corpus before the first merge, which saves memory.
  explicit MergeLearner(PieceCounter&& corpus, const LearnOptions& options = {});

  MergeLearner(MergeLearner&& other) noexcept;
  MergeLearner& operator=(MergeLearner&& other) noexcept;
  ~MergeLearner();

  /// The next merge, or nothing if there are `max_merges` or no pair occurs often enough.
  [[nodiscard]] std::optional<Merge> next();

  class Implementation;

 private:
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace gpt2x::bpe
