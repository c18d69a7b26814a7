// The second half of training: which pairs to merge, learned from the counts of pieces.
//
// The rule: merge the pair that occurs most often; of several, the one with the smaller (left id, right id).
// Ids 0 to 255 are the bytes, in the order of gpt2_byte_order; the i-th merge makes id 256 + i.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <queue>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/pair_map.hpp"
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

/// One learned merge, and how often the pair occurred when it was chosen.
struct Merge {
  TokenId left;
  TokenId right;
  std::uint64_t count;

  friend bool operator==(const Merge&, const Merge&) = default;
};

/// Learns one merge at a time, so that the caller decides when to stop, and what to do in between.
///
/// All pieces lie in one array of cells, one for each byte. A token is written into the first and the last
/// cell that it covers, so its neighbours on both sides are found from its place and the lengths of tokens,
/// with no links and no piece ever being copied. Every pair knows the places where it came up. Merging a pair
/// visits these places only, whatever the pieces' lengths: learning costs time and memory in proportion to
/// the symbols merged, plus the heap's logarithm, also when the corpus is a single piece of a megabyte.
class MergeLearner {
 public:
  /// Copies what it needs of the corpus. Throws std::length_error for 4 GiB or more of distinct pieces.
  explicit MergeLearner(const PieceCounter& corpus);

  /// The next merge, or nothing if no pair occurs at least `min_frequency` times (nor ever less than once).
  [[nodiscard]] std::optional<Merge> next(std::uint64_t min_frequency = 1);

 private:
  using Cell = std::uint32_t;  // an index into cells_

  /// A place where a pair came up; a list for each pair, in ascending order of cells.
  struct Place {
    Cell cell;
    std::uint32_t piece;
    std::uint32_t next;
  };

  struct PairStats {
    TokenPair pair;
    std::uint64_t count;
    std::uint32_t first_place;
    std::uint32_t last_place;
  };

  /// A pair in the heap, with the count that it had when it was put there.
  struct Candidate {
    std::uint64_t count;
    TokenPair pair;
    std::uint32_t stats;  // an index into stats_

    /// The heap's top is the greatest: highest count, then smallest pair.
    friend bool operator<(const Candidate& a, const Candidate& b) {
      return a.count != b.count ? a.count < b.count : a.pair > b.pair;
    }
  };

  void add_piece(std::string_view piece, std::uint64_t count);
  void add_occurrence(TokenPair pair, Cell cell, std::uint32_t piece);
  void remove_occurrence(TokenPair pair, std::uint32_t piece);
  void push_candidates(std::size_t first_stats);
  void merge_everywhere(std::uint32_t stats);
  void merge_at(const Place& place, TokenPair pair, TokenId merged);
  [[nodiscard]] bool is_at(Cell cell, TokenPair pair) const;

  std::vector<TokenId> cells_;
  std::vector<std::uint64_t> piece_counts_;
  std::vector<std::uint32_t> token_lengths_;  // in bytes, by id
  PairMap stats_of_pair_;
  std::vector<PairStats> stats_;
  std::vector<Place> places_;
  std::priority_queue<Candidate> candidates_;
};

}  // namespace gpt2x::bpe
