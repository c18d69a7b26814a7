#include "gpt2x/bpe/trainer.hpp"

#include <limits>
#include <stdexcept>
#include <utility>

namespace gpt2x::bpe {
namespace {

constexpr std::uint32_t kNoPlace = std::numeric_limits<std::uint32_t>::max();

// Between pieces, so that a piece's first and last token have a neighbour to look at that is none.
constexpr TokenId kWall = kNoToken;

constexpr std::array<TokenId, 256> id_of_byte() {
  std::array<TokenId, 256> ids{};
  const std::array<std::uint8_t, 256> byte_of_id = gpt2_byte_order();
  for (TokenId id = 0; id < 256; ++id) ids[byte_of_id[id]] = id;
  return ids;
}

}  // namespace

MergeLearner::MergeLearner(const PieceCounter& corpus) : cells_{kWall}, token_lengths_(256, 1) {
  for (std::size_t i = 0; i < corpus.num_unique(); ++i) add_piece(corpus.piece(i), corpus.count(i));
  push_candidates(0);
}

std::optional<Merge> MergeLearner::next(std::uint64_t min_frequency) {
  while (!candidates_.empty()) {
    Candidate best = candidates_.top();
    if (best.count == 0 || best.count < min_frequency) break;
    candidates_.pop();
    // Counts only fall once a pair is in the heap, so an outdated one is put back where it belongs now; the
    // pair whose count is still true is the best.
    const std::uint64_t count = stats_[best.stats].count;
    if (count != best.count) {
      best.count = count;
      candidates_.push(best);
      continue;
    }
    merge_everywhere(best.stats);
    return Merge{best.pair.left, best.pair.right, best.count};
  }
  return std::nullopt;
}

void MergeLearner::add_piece(std::string_view piece, std::uint64_t count) {
  static constexpr std::array<TokenId, 256> kIdOfByte = id_of_byte();
  if (cells_.size() + piece.size() >= std::numeric_limits<Cell>::max()) {
    throw std::length_error("distinct pieces take more than 4 GiB");
  }
  const auto index = static_cast<std::uint32_t>(piece_counts_.size());
  piece_counts_.push_back(count);
  const auto first = static_cast<Cell>(cells_.size());
  for (const char byte : piece) cells_.push_back(kIdOfByte[static_cast<std::uint8_t>(byte)]);
  for (Cell cell = first; cell + 1 < cells_.size(); ++cell) {
    add_occurrence({cells_[cell], cells_[cell + 1]}, cell, index);
  }
  cells_.push_back(kWall);
}

void MergeLearner::add_occurrence(TokenPair pair, Cell cell, std::uint32_t piece) {
  const auto place = static_cast<std::uint32_t>(places_.size());
  if (place == kNoPlace) throw std::length_error("more than four billion pairs in distinct pieces");
  places_.push_back({cell, piece, kNoPlace});

  const auto next_stats = static_cast<std::uint32_t>(stats_.size());
  const std::uint32_t index = stats_of_pair_.insert(pair, next_stats);
  if (index == next_stats) {
    stats_.push_back({pair, 0, place, place});
  } else {
    places_[std::exchange(stats_[index].last_place, place)].next = place;
  }
  stats_[index].count += piece_counts_[piece];
}

void MergeLearner::remove_occurrence(TokenPair pair, std::uint32_t piece) {
  stats_[stats_of_pair_.find(pair)].count -= piece_counts_[piece];
}

void MergeLearner::push_candidates(std::size_t first_stats) {
  for (std::size_t i = first_stats; i < stats_.size(); ++i) {
    const PairStats& stats = stats_[i];
    if (stats.count > 0) candidates_.push({stats.count, stats.pair, static_cast<std::uint32_t>(i)});
  }
}

// A pair can only come up where one of its tokens is made, and a token is made by one merge alone: when the
// merge is done, all pairs that hold the new token are known with all their places, and they are the pairs
// that are new. So each pair enters the heap once, here.
//
// That no two merges make the same bytes is worth a proof, since ids would then repeat. Say (u, v) and later
// (u', v') make S. The ends of S were ends of tokens all the time before (u', v') merged, so no merge reached
// across them, and inside S all merges went as in a piece that is S alone. In such a piece (u, v) had made
// one token of it by then, so there was no u' beside a v'.
void MergeLearner::merge_everywhere(std::uint32_t stats) {
  const TokenPair pair = stats_[stats].pair;
  const std::size_t num_stats = stats_.size();
  const auto merged = static_cast<TokenId>(token_lengths_.size());
  token_lengths_.push_back(token_lengths_[pair.left] + token_lengths_[pair.right]);
  for (std::uint32_t i = stats_[stats].first_place; i != kNoPlace; i = places_[i].next) {
    const Place place = places_[i];  // a copy: merging adds places
    if (is_at(place.cell, pair)) merge_at(place, pair, merged);
  }
  stats_[stats].count = 0;
  push_candidates(num_stats);
}

// In a run of equal tokens pairs overlap ("aaaa" holds "aa" three times). Places come in ascending order, so
// the run is merged from the left; what overlaps with a merge is no longer there when its turn comes.
void MergeLearner::merge_at(const Place& place, TokenPair pair, TokenId merged) {
  const Cell middle = place.cell + token_lengths_[pair.left];
  const Cell end = middle + token_lengths_[pair.right];
  const TokenId before = cells_[place.cell - 1];
  const TokenId after = cells_[end];
  cells_[middle] = kWall;  // nothing starts here any more
  cells_[place.cell] = cells_[end - 1] = merged;

  if (before != kWall) {
    remove_occurrence({before, pair.left}, place.piece);
    add_occurrence({before, merged}, place.cell - token_lengths_[before], place.piece);
  }
  if (after != kWall) {
    remove_occurrence({pair.right, after}, place.piece);
    add_occurrence({merged, after}, place.cell, place.piece);
  }
}

bool MergeLearner::is_at(Cell cell, TokenPair pair) const {
  return cells_[cell] == pair.left && cells_[cell + token_lengths_[pair.left]] == pair.right;
}

}  // namespace gpt2x::bpe
