// Merging a piece with long repetitions in it: one letter a million times, `-=-=-=…`, the same smiley all
// over.
//
// Let B be some bytes of the piece, and the tokens of the piece be such that one begins where B begins, and
// one where it ends. Let the tokens of BB be such that one begins in its middle. Then B may be left out or
// put in any number of times: the tokens of B (those between the two places) are left out or put in as often,
// and no other token changes. That holds for every vocabulary, since all it takes is that merging goes by the
// lowest rank, the leftmost of several, and never undoes a merge:
//
// Take the bytes left of B, then B several times, then the bytes right of B, and see each of these blocks
// merge. As long as no merge reaches from one block into the next, each of them merges as it would by itself:
// the lowest and leftmost merge of all blocks is also that of its own. Suppose that there is a first merge
// which does reach from one block into the next. Until then these two blocks by themselves would have gone
// through the same merges in the same order, and this one, the lowest and leftmost of all, is theirs too. So
// it would also happen in the piece as it was (for the blocks left of B and right of B) or in BB, and there
// would be no token that begins between the two. But one does.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/internal/encoder.hpp"

namespace gpt2x::bpe {
namespace {

// A repetition that is worth it has a period of at most kMaxPeriod bytes and at least kShortest bytes; one
// that has kStep more is certain to be found.
constexpr std::size_t kMaxPeriod = 128;
constexpr std::size_t kShortest = 2048;
constexpr std::size_t kStep = 256;

// How much of a repetition is merged to find a block, first and at most.
constexpr std::size_t kFirstSample = 512;
constexpr std::size_t kLargestSample = std::size_t{1} << 15;

struct Repetition {
  std::size_t start;
  std::size_t size;
  std::size_t period;
};

// A repetition that has been shortened, by taking blocks out.
struct Shortened {
  std::size_t start;  // in the shortened piece
  std::size_t size;
  std::size_t period;
  std::size_t block_size;
  std::size_t
      block_phase;  // where blocks start: so many bytes behind the start, or any number of periods more
  std::size_t num_left_out;
};

struct Block {
  std::size_t start;
  std::size_t size;
};

TokenId* merge(const VocabularyTables& vocabulary, std::string_view bytes, TokenId* out, StopFlag& stop) {
  return vocabulary.is_consistent() ? merge_by_windows(vocabulary, bytes, out, stop)
                                    : merge_bytes(vocabulary, bytes, out, kNoToken, stop);
}

// Where tokens end; 0 stands first.
std::vector<std::size_t> token_ends(const VocabularyTables& vocabulary, std::string_view bytes,
                                    StopFlag& stop) {
  std::vector<TokenId> tokens(bytes.size());
  tokens.resize(static_cast<std::size_t>(merge(vocabulary, bytes, tokens.data(), stop) - tokens.data()));
  std::vector<std::size_t> ends{0};
  for (const TokenId token : tokens) ends.push_back(ends.back() + vocabulary.bytes_of(token).size());
  return ends;
}

// Behind the last byte that goes on with this period from `start`.
std::size_t repetition_end(std::string_view piece, std::size_t start, std::size_t period) {
  constexpr std::size_t kStride = 64;
  std::size_t end = start + period;
  while (piece.size() - end >= kStride &&
         std::memcmp(piece.data() + end, piece.data() + end - period, kStride) == 0) {
    end += kStride;
  }
  while (end < piece.size() && piece[end] == piece[end - period]) ++end;
  return end;
}

// The repetition that starts here, if it has at least 2 * kMaxPeriod bytes; there are kShortest bytes to look
// at. No other period goes on longer then: where both hold, so does their greatest common divisor (Fine and
// Wilf).
std::optional<Repetition> repetition_at(std::string_view piece, std::size_t start) {
  const auto word_at = [&](std::size_t pos) {
    std::uint64_t word;
    std::memcpy(&word, piece.data() + pos, sizeof word);
    return word;
  };
  const std::uint64_t first = word_at(start);
  for (std::size_t period = 1; period <= kMaxPeriod; ++period) {
    if (word_at(start + period) != first) continue;
    const std::size_t size = repetition_end(piece, start, period) - start;
    if (size >= 2 * kMaxPeriod) return Repetition{start, size, period};
  }
  return std::nullopt;
}

std::vector<Repetition> find_repetitions(std::string_view piece) {
  std::vector<Repetition> found;
  for (std::size_t pos = 0; pos + kShortest <= piece.size();) {
    const std::optional<Repetition> repetition = repetition_at(piece, pos);
    if (repetition && repetition->size >= kShortest) found.push_back(*repetition);
    pos += repetition ? repetition->size : kStep;
  }
  return found;
}

// The first of the ends in [low, high] of which another one is `distance`, a multiple of the period, away;
// the least such distance if none is given.
std::optional<Block> find_block(const std::vector<std::size_t>& ends, std::size_t low, std::size_t high,
                                std::size_t period) {
  const auto first = std::ranges::lower_bound(ends, low);
  if (first == ends.end()) return std::nullopt;
  for (auto end = first + 1; end < ends.end() && *end <= high; ++end) {
    if ((*end - *first) % period == 0) return Block{*first, *end - *first};
  }
  return std::nullopt;
}

// Some bytes of the repetition that are whole tokens in the middle of it, and stay that if they are doubled.
std::optional<Block> find_block(const VocabularyTables& vocabulary, std::string_view repetition,
                                std::size_t period, StopFlag& stop) {
  for (std::size_t size = kFirstSample; size <= std::min(kLargestSample, repetition.size() / 4); size *= 4) {
    const std::string_view sample = repetition.substr(0, size);
    const std::optional<Block> block =
        find_block(token_ends(vocabulary, sample, stop), size / 4, size / 4 * 3, period);
    if (!block) continue;
    const std::string twice(repetition.substr(block->start, 2 * block->size));
    if (std::ranges::binary_search(token_ends(vocabulary, twice, stop), block->size)) return block;
  }
  return std::nullopt;
}

// The shortened piece, and what was left out.
struct ShortPiece {
  std::string bytes;
  std::vector<Shortened> repetitions;
};

ShortPiece shorten(const VocabularyTables& vocabulary, std::string_view piece, StopFlag& stop) {
  ShortPiece result;
  std::size_t copied = 0;
  for (const auto& [start, size, period] : find_repetitions(piece)) {
    const std::optional<Block> block = find_block(vocabulary, piece.substr(start, size), period, stop);
    if (!block) continue;
    const std::size_t least = std::max(kFirstSample, 3 * block->size);
    const std::size_t num_left_out = size < least ? 0 : (size - least) / block->size;
    const std::size_t num_kept = size - num_left_out * block->size;
    result.bytes.append(piece.substr(copied, start - copied));
    result.repetitions.push_back(
        {result.bytes.size(), num_kept, period, block->size, block->start % period, num_left_out});
    result.bytes.append(piece.substr(start, num_kept));
    copied = start + size;
  }
  if (!result.repetitions.empty()) result.bytes.append(piece.substr(copied));
  return result;
}

// The tokens of the shortened piece on their way to those of the whole one.
class Lengthener {
 public:
  Lengthener(const VocabularyTables& vocabulary, const std::vector<TokenId>& tokens) : tokens_(tokens) {
    ends_.reserve(tokens.size() + 1);
    ends_.push_back(0);
    for (const TokenId token : tokens) ends_.push_back(ends_.back() + vocabulary.bytes_of(token).size());
  }

  // Copies tokens up to a block of the repetition, and then that block as often as it was left out. False if
  // the repetition has no block that is whole tokens.
  bool add(const Shortened& repetition, TokenId*& out) {
    const std::size_t last = repetition.start + repetition.size;
    for (std::size_t i = copied_; i < ends_.size() && ends_[i] + repetition.block_size <= last; ++i) {
      if (ends_[i] < repetition.start) continue;
      if ((ends_[i] - repetition.start) % repetition.period != repetition.block_phase) continue;
      const auto behind = std::ranges::lower_bound(ends_, ends_[i] + repetition.block_size);
      if (behind == ends_.end() || *behind != ends_[i] + repetition.block_size) continue;
      const auto num_tokens = static_cast<std::size_t>(behind - ends_.begin()) - i;
      copy_to(i, out);
      const TokenId* const block = tokens_.data() + i;
      for (std::size_t k = 0; k < repetition.num_left_out; ++k) out = std::copy_n(block, num_tokens, out);
      return true;
    }
    return false;
  }

  void copy_rest(TokenId*& out) { copy_to(tokens_.size(), out); }

 private:
  void copy_to(std::size_t i, TokenId*& out) {
    out = std::copy_n(tokens_.data() + copied_, i - copied_, out);
    copied_ = i;
  }

  const std::vector<TokenId>& tokens_;
  std::vector<std::size_t> ends_;  // where tokens end, and 0
  std::size_t copied_ = 0;
};

}  // namespace

TokenId* merge_by_repeating(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out,
                            StopFlag& stop) {
  if (piece.size() < kShortest) return merge(vocabulary, piece, out, stop);
  const ShortPiece shortened = shorten(vocabulary, piece, stop);
  if (shortened.repetitions.empty()) return merge(vocabulary, piece, out, stop);

  std::vector<TokenId> tokens(shortened.bytes.size());
  tokens.resize(
      static_cast<std::size_t>(merge(vocabulary, shortened.bytes, tokens.data(), stop) - tokens.data()));
  Lengthener lengthener(vocabulary, tokens);
  TokenId* end = out;
  for (const Shortened& repetition : shortened.repetitions) {
    stop.check();
    if (!lengthener.add(repetition, end)) return merge(vocabulary, piece, out, stop);
  }
  lengthener.copy_rest(end);
  return end;
}

}  // namespace gpt2x::bpe
