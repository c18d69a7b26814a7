// The second half of training: which pairs to merge, learned from the counts of pieces.
//
// The rule: merge the pair that occurs most often; of several, the one with the smaller (left id, right id).
// Ids 0 to 255 are the bytes, in the order that LearnOptions says; the i-th merge makes id 256 + i.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>

#include "gpt2x/bpe/piece_counter.hpp"
#include "gpt2x/bpe/types.hpp"

namespace gpt2x::bpe {

/// The bytes in the order of GPT-2's byte-to-unicode characters: first those that print as themselves ('!' is
/// 0), then the others. GPT-2's own vocabulary numbers them so, and ties between merges follow from it.
[[nodiscard]] constexpr std::array<std::uint8_t, 256> gpt2_byte_order() {
  std::array<std::uint8_t, 256> byte_of_id{};
  std::size_t next = 0;
  const auto prints = [](unsigned byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  };
  for (const bool wanted : {true, false}) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (prints(byte) == wanted) byte_of_id[next++] = static_cast<std::uint8_t>(byte);
    }
  }
  return byte_of_id;
}

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
  /// std::invalid_argument if a merge in `continue_from` joins ids that do not exist by then.
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
