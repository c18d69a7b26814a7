#include "gpt2x/bpe/trainer.hpp"

#include <algorithm>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "candidate_queue.hpp"
#include "pair_table.hpp"

namespace gpt2x::bpe {
namespace {

// By so many iterations memory is asked for before it is needed.
constexpr std::size_t kAhead = 12;

using Slot = std::uint32_t;  // a place in the array of symbols

// Symbols are ids plus one, so that 0 is none: it stands between pieces.
constexpr std::uint32_t kSeparator = 0;

constexpr std::uint32_t to_symbol(TokenId id) {
  return id + 1;
}

constexpr TokenPair to_pair(PairKey key) {
  return {static_cast<TokenId>(key >> 32) - 1, static_cast<TokenId>(key) - 1};
}

template <typename Symbol>
std::array<Symbol, 256> symbol_of_byte(ByteOrder order) {
  std::array<Symbol, 256> symbols{};
  const std::array<std::uint8_t, 256> gpt2 = gpt2_byte_order();
  for (TokenId id = 0; id < 256; ++id) {
    symbols[order == ByteOrder::kGpt2 ? gpt2[id] : id] = static_cast<Symbol>(to_symbol(id));
  }
  return symbols;
}

// ---------------------------------------------------------------------------------------------------------------------
// Pieces

struct PieceCount {
  std::string_view piece;
  std::uint64_t count;
};

// The pieces from which something can be learned (two bytes or more, and not counted 0 times), the most
// frequent first. Nearly all counts are small, and sorted by counting them.
std::vector<PieceCount> sorted_pieces(const PieceCounter& corpus) {
  constexpr std::uint64_t kSmall = 4096;
  std::vector<std::size_t> num_with_count(kSmall);
  std::vector<PieceCount> large;
  const auto is_useful = [](std::string_view piece, std::uint64_t count) {
    return piece.size() > 1 && count > 0;
  };
  corpus.for_each([&](std::string_view piece, std::uint64_t count) {
    if (!is_useful(piece, count)) return;
    if (count < kSmall) {
      ++num_with_count[count];
    } else {
      large.push_back({piece, count});
    }
  });
  std::ranges::sort(large, std::ranges::greater(), &PieceCount::count);

  std::vector<std::size_t> next_with_count(kSmall);
  std::size_t next = large.size();
  for (std::size_t count = kSmall - 1; count > 0; --count) {
    next_with_count[count] = next;
    next += num_with_count[count];
  }
  std::vector<PieceCount> sorted = std::move(large);
  sorted.resize(next);
  corpus.for_each([&](std::string_view piece, std::uint64_t count) {
    if (is_useful(piece, count) && count < kSmall) sorted[next_with_count[count]++] = {piece, count};
  });
  return sorted;
}

// How many merges there will be at most, those to continue from included.
std::size_t num_merges(const LearnOptions& options) {
  const std::size_t given = options.continue_from.size();
  return given + std::min(options.max_merges, std::numeric_limits<std::size_t>::max() - given);
}

// A count that no merge is below; `pieces` are sorted_pieces.
//
// Let n be the number of merges, and c the count of the n-th most frequent piece of two bytes or more. Before
// the n-th merge at most n - 1 pieces are single tokens, so one of the first n pieces still holds a pair,
// which occurs at least c times. Hence every merge has a count of at least c, and a pair that occurs less
// often (counts only fall) is never chosen.
std::uint64_t least_count(const std::vector<PieceCount>& pieces, const LearnOptions& options) {
  const std::size_t n = num_merges(options);
  return n > 0 && n <= pieces.size() ? pieces[n - 1].count : 1;
}

// How often the piece occurs that covers a slot. Since pieces lie in the order of falling counts, this is a
// step function of a few thousand steps, where an entry for each piece would be another miss of the cache.
class Weights {
 public:
  /// The slots up to `end` have this weight; ends and weights come in order.
  void append(Slot end, std::uint64_t weight) {
    if (!weights_.empty() && weights_.back() == weight) {
      ends_.back() = end;
    } else {
      ends_.push_back(end);
      weights_.push_back(weight);
    }
  }

  /// To be called after the last append, with the number of slots.
  void build_index(std::size_t num_slots) {
    std::uint32_t step = 0;
    for (std::size_t slot = 0; slot < num_slots; slot += std::size_t{1} << kBlockBits) {
      while (step + 1 < ends_.size() && ends_[step] <= slot) ++step;
      step_at_block_.push_back(step);
    }
  }

  /// Answers for ascending slots.
  class Cursor {
   public:
    explicit Cursor(const Weights& weights) : weights_(weights) {}

    std::uint64_t at(Slot slot) {
      if (slot >= end_) seek(slot);
      return weight_;
    }

   private:
    void seek(Slot slot) {
      std::uint32_t step = weights_.step_at_block_[slot >> kBlockBits];
      while (weights_.ends_[step] <= slot) ++step;
      end_ = weights_.ends_[step];
      weight_ = weights_.weights_[step];
    }

    const Weights& weights_;
    Slot end_ = 0;
    std::uint64_t weight_ = 0;
  };

 private:
  static constexpr unsigned kBlockBits = 6;

  std::vector<Slot> ends_;
  std::vector<std::uint64_t> weights_;
  std::vector<std::uint32_t> step_at_block_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Pairs

// A PairTable for when all symbols are single bytes: no hashing, all pairs have a place.
class BytePairTable {
 public:
  PairStats* find(PairKey key) {
    return &pairs_[(key >> 32) * kNumSymbols + static_cast<std::uint32_t>(key)];
  }
  PairStats& insert(PairKey key) {
    PairStats& stats = *find(key);
    stats.key = key;
    return stats;
  }

  template <typename Use>
  void for_each(const Use& use) {
    for (PairStats& stats : pairs_) {
      if (stats.key != 0) use(stats);
    }
  }

 private:
  static constexpr std::size_t kNumSymbols = to_symbol(256);

  std::vector<PairStats> pairs_ = std::vector<PairStats>(kNumSymbols * kNumSymbols);
};

// ---------------------------------------------------------------------------------------------------------------------
// Neighbours

// What stands beside the places where a pair is being merged, on one side of them.
class Neighbours {
 public:
  static constexpr std::uint32_t kUntracked = std::numeric_limits<std::uint32_t>::max();

  struct Neighbour {
    std::uint64_t weight = 0;
    std::uint32_t num_places = 0;
    std::uint32_t next_posting = kUntracked;  // of the new pair, if it is worth tracking
  };

  void resize(std::size_t num_symbols) {
    all_.resize(num_symbols);
    touched_.resize(num_symbols + 1);  // add writes one place too far
  }

  void add(std::uint32_t symbol, std::uint64_t weight) {
    Neighbour& neighbour = all_[symbol];
    touched_[num_touched_] = symbol;
    num_touched_ += neighbour.num_places == 0;
    neighbour.weight += weight;
    ++neighbour.num_places;
  }

  [[nodiscard]] std::span<const std::uint32_t> touched() const {
    return std::span(touched_).first(num_touched_);
  }

  Neighbour& operator[](std::uint32_t symbol) { return all_[symbol]; }

  void clear() {
    for (const std::uint32_t symbol : touched()) all_[symbol] = {};
    num_touched_ = 0;
  }

 private:
  std::vector<Neighbour> all_;          // by symbol
  std::vector<std::uint32_t> touched_;  // those that are not empty come first
  std::size_t num_touched_ = 0;
};

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------
// Learning

class MergeLearner::Implementation {
 public:
  virtual ~Implementation() = default;

  /// Finds the pairs; to be called once, before next. By then the corpus is no longer needed.
  virtual void start(std::span<const TokenPair> continue_from) = 0;

  virtual std::optional<Merge> next() = 0;
};

namespace {

// All pieces lie in one array of slots, one for each byte. A token is written into the first and the last
// slot that it covers, so its neighbours on both sides are found from its place and the lengths of tokens,
// with no links and no piece ever being copied. A pair knows its *postings*: the slots where it came up, in
// ascending order, in one stretch of an array. Merging it visits these alone.
//
// A pair can only come up where one of its tokens is made, and a token is made by one merge alone: when the
// merge is done, all pairs that hold the new token are known with all their places. So postings are written
// once, and what is no longer true of them shows when they are visited. Most pairs are too rare to be chosen
// ever (see least_count), and are not kept at all.
//
// That no two merges make the same bytes is worth a proof, since ids would then repeat. Say (u, v) and later
// (u', v') make S. The ends of S were ends of tokens all the time before (u', v') merged, so no merge reached
// across them, and inside S all merges went as in a piece that is S alone. In such a piece (u, v) had made
// one token of it by then, so there was no u' beside a v'.
//
// `Symbol` is the narrowest type that holds all symbols: the fewer bytes, the more of the slots is in the
// cache.
template <typename Symbol>
class Learner final : public MergeLearner::Implementation {
 public:
  Learner(const std::vector<PieceCount>& pieces, const LearnOptions& options);

  void start(std::span<const TokenPair> continue_from) override;
  std::optional<Merge> next() override;

 private:
  struct Place {
    Slot slot;
    Symbol before;
    Symbol after;
  };

  void lay_out(const std::vector<PieceCount>& pieces, ByteOrder byte_order);
  void replay(std::span<const TokenPair> merges);
  template <typename Table>
  void track_pairs();
  template <typename Use>
  void for_each_pair(const Use& use) const;

  void merge(PairKey pair);
  void merge_places(PairKey pair, Symbol merged);
  void remove_old_pairs(PairKey pair, Symbol merged);
  void add_new_pairs(PairKey pair, Symbol merged);
  void track_new_pair(PairKey pair, Neighbours::Neighbour& neighbour, std::uint64_t count);
  void write_postings();

  std::size_t num_left_;     // how many merges may still be learned
  std::uint64_t min_count_;  // pairs that occur less often are not tracked; at least 1

  std::vector<Symbol> slots_;
  Weights weights_;
  std::vector<std::uint32_t> lengths_;  // in bytes, by symbol
  PairTable pairs_;
  CandidateQueue candidates_;
  std::vector<Slot> postings_;

  // Of the merge that is going on.
  std::vector<Place> places_;
  Neighbours left_;
  Neighbours right_;
};

template <typename Symbol>
Learner<Symbol>::Learner(const std::vector<PieceCount>& pieces, const LearnOptions& options)
    : num_left_(options.max_merges),
      min_count_(std::max(least_count(pieces, options), options.min_frequency)),
      lengths_(to_symbol(256), 1) {
  lay_out(pieces, options.byte_order);
}

template <typename Symbol>
void Learner<Symbol>::start(std::span<const TokenPair> continue_from) {
  if (continue_from.empty()) {
    track_pairs<BytePairTable>();
  } else {
    replay(continue_from);
    track_pairs<PairTable>();
  }
}

template <typename Symbol>
std::optional<Merge> Learner<Symbol>::next() {
  if (num_left_ == 0) return std::nullopt;
  while (const Candidate* top = candidates_.top()) {
    const Candidate best = *top;
    candidates_.pop();
    // Counts only fall once a pair is queued, so an outdated one goes back to where it belongs now; the pair
    // whose count is still true is the best.
    const std::uint64_t count = pairs_.find(best.key)->count;
    if (count != best.count) {
      if (count >= min_count_) candidates_.push({count, best.key});
      continue;
    }
    merge(best.key);
    --num_left_;
    const TokenPair pair = to_pair(best.key);
    return Merge{pair.left, pair.right, best.count};
  }
  return std::nullopt;
}

// ---------------------------------------------------------------------------------------------------------------------
// Preparing

template <typename Symbol>
void Learner<Symbol>::lay_out(const std::vector<PieceCount>& pieces, ByteOrder byte_order) {
  std::size_t num_slots = 1;
  for (const PieceCount& piece : pieces) num_slots += piece.piece.size() + 1;
  if (num_slots > std::numeric_limits<Slot>::max()) {
    throw std::length_error("distinct pieces take more than 4 GiB; leave out the rarest of them");
  }
  const std::array<Symbol, 256> symbols = symbol_of_byte<Symbol>(byte_order);
  slots_.resize(num_slots, kSeparator);
  Symbol* slot = slots_.data() + 1;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    // Sorted, the pieces lie at random places of the corpus.
    if (i + kAhead < pieces.size()) __builtin_prefetch(pieces[i + kAhead].piece.data());
    for (const char byte : pieces[i].piece) *slot++ = symbols[static_cast<std::uint8_t>(byte)];
    ++slot;  // a separator
    weights_.append(static_cast<Slot>(slot - slots_.data()), pieces[i].count);
  }
  weights_.build_index(slots_.size());
}

template <typename Symbol>
void Learner<Symbol>::replay(std::span<const TokenPair> merges) {
  const std::uint64_t min_count = std::exchange(min_count_, 1);
  track_pairs<BytePairTable>();
  std::set<TokenPair> done;
  for (const auto [left, right] : merges) {
    const std::size_t num_ids = lengths_.size() - 1;
    const std::string name = "merge " + std::to_string(done.size()) + " of those to continue from";
    if (left >= num_ids || right >= num_ids) {
      throw std::invalid_argument(name + " joins ids " + std::to_string(left) + " and " +
                                  std::to_string(right) + ", but only those below " +
                                  std::to_string(num_ids) + " exist by then");
    }
    if (!done.insert({left, right}).second) {
      throw std::invalid_argument(name + " joins ids " + std::to_string(left) + " and " +
                                  std::to_string(right) + ", which an earlier one has joined");
    }
    merge(pair_key(to_symbol(left), to_symbol(right)));
  }
  min_count_ = min_count;
}

template <typename Symbol>
template <typename Use>
void Learner<Symbol>::for_each_pair(const Use& use) const {
  Weights::Cursor weight(weights_);
  for (std::size_t slot = 1; slot < slots_.size();) {
    const Symbol left = slots_[slot];
    const std::size_t next = slot + lengths_[left];
    if (left != kSeparator && slots_[next] != kSeparator) {
      use(pair_key(left, slots_[next]), static_cast<Slot>(slot), weight.at(static_cast<Slot>(slot)));
    }
    slot = next;
  }
}

// Finds all pairs as they are now, and keeps those that occur often enough.
template <typename Symbol>
template <typename Table>
void Learner<Symbol>::track_pairs() {
  Table all;
  for_each_pair([&](PairKey key, Slot, std::uint64_t weight) {
    PairStats& stats = all.insert(key);
    stats.count += weight;
    ++stats.num_postings;
  });

  pairs_ = {};
  candidates_ = {};
  std::size_t num_postings = 0;
  all.for_each([&](PairStats& stats) {
    if (stats.count < min_count_) return;
    stats.first_posting = static_cast<std::uint32_t>(num_postings);
    num_postings += stats.num_postings;
    pairs_.insert(stats.key) = stats;
    candidates_.push({stats.count, stats.key});
  });
  postings_.resize(num_postings);
  for_each_pair([&](PairKey key, Slot slot, std::uint64_t) {
    PairStats& stats = *all.find(key);
    if (stats.count >= min_count_) postings_[stats.first_posting++] = slot;
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// Merging

// All places are visited first, while sums are kept for each neighbour: there are far fewer different
// neighbours than places, and only for them pairs are looked up.
template <typename Symbol>
void Learner<Symbol>::merge(PairKey pair) {
  const auto merged = static_cast<Symbol>(lengths_.size());
  const std::uint32_t left = static_cast<std::uint32_t>(pair >> 32), right = static_cast<std::uint32_t>(pair);
  lengths_.push_back(lengths_[left] + lengths_[right]);
  left_.resize(lengths_.size());
  right_.resize(lengths_.size());
  if (pairs_.find(pair) == nullptr) return;

  merge_places(pair, merged);
  remove_old_pairs(pair, merged);
  add_new_pairs(pair, merged);
  write_postings();
  pairs_.find(pair)->count = 0;
  left_.clear();
  right_.clear();
}

// In a run of equal tokens pairs overlap ("aaaa" holds "aa" three times). Postings ascend, so the run is
// merged from the left; what overlaps with a merge is no longer there when its turn comes.
template <typename Symbol>
void Learner<Symbol>::merge_places(PairKey pair, Symbol merged) {
  const auto left = static_cast<Symbol>(pair >> 32), right = static_cast<Symbol>(pair);
  const Slot left_length = lengths_[left], length = lengths_[merged];
  const PairStats stats = *pairs_.find(pair);
  const Slot* postings = postings_.data() + stats.first_posting;
  Symbol* const slots = slots_.data();
  Weights::Cursor weights(weights_);
  places_.clear();
  places_.reserve(stats.num_postings);
  for (std::size_t i = 0; i < stats.num_postings; ++i) {
    if (i + kAhead < stats.num_postings) __builtin_prefetch(slots + postings[i + kAhead], 1);
    Symbol* const first = slots + postings[i];
    Symbol* const middle = first + left_length;
    if (*first != left || *middle != right) continue;
    Symbol* const end = first + length;
    *middle = kSeparator;  // no token starts here any more
    *first = end[-1] = merged;
    const Place place{postings[i], first[-1], *end};
    const std::uint64_t weight = weights.at(place.slot);
    left_.add(place.before, weight);
    right_.add(place.after, weight);
    places_.push_back(place);
  }
}

// What was beside the two tokens is not beside them any more. Where the place before had just been merged
// too, the token on the left was the new one: that pair is not known yet, and add_new_pairs leaves it out.
template <typename Symbol>
void Learner<Symbol>::remove_old_pairs(PairKey pair, Symbol merged) {
  const std::uint32_t left = static_cast<std::uint32_t>(pair >> 32), right = static_cast<std::uint32_t>(pair);
  for (const std::uint32_t before : left_.touched()) pairs_.prefetch(pair_key(before, left));
  for (const std::uint32_t after : right_.touched()) pairs_.prefetch(pair_key(right, after));
  const auto remove = [&](PairKey old, std::uint64_t weight) {
    if (old == pair) return;
    if (PairStats* const stats = pairs_.find(old)) stats->count -= weight;
  };
  for (const std::uint32_t before : left_.touched()) {
    if (before != kSeparator && before != merged) remove(pair_key(before, left), left_[before].weight);
  }
  for (const std::uint32_t after : right_.touched()) {
    if (after != kSeparator) remove(pair_key(right, after), right_[after].weight);
  }
}

template <typename Symbol>
void Learner<Symbol>::add_new_pairs(PairKey pair, Symbol merged) {
  const std::uint32_t left = static_cast<std::uint32_t>(pair >> 32);
  // Two merges side by side: the first one saw the second one's left token after it, which is gone now.
  const std::uint64_t gone = left_[merged].weight;
  for (const std::uint32_t before : left_.touched()) {
    if (before != kSeparator) track_new_pair(pair_key(before, merged), left_[before], left_[before].weight);
  }
  for (const std::uint32_t after : right_.touched()) {
    if (after != kSeparator) {
      track_new_pair(pair_key(merged, after), right_[after],
                     right_[after].weight - (after == left ? gone : 0));
    }
  }
}

template <typename Symbol>
void Learner<Symbol>::track_new_pair(PairKey pair, Neighbours::Neighbour& neighbour, std::uint64_t count) {
  if (count < min_count_) return;
  const std::size_t num_postings = postings_.size() + neighbour.num_places;
  if (num_postings > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("more than four billion places of pairs in distinct pieces");
  }
  neighbour.next_posting = static_cast<std::uint32_t>(postings_.size());
  pairs_.insert(pair) = {pair, count, neighbour.next_posting, neighbour.num_places};
  candidates_.push({count, pair});
  postings_.resize(num_postings);
}

template <typename Symbol>
void Learner<Symbol>::write_postings() {
  for (const Place& place : places_) {
    std::uint32_t& of_left = left_[place.before].next_posting;
    if (of_left != Neighbours::kUntracked) postings_[of_left++] = place.slot - lengths_[place.before];
    std::uint32_t& of_right = right_[place.after].next_posting;
    if (of_right != Neighbours::kUntracked) postings_[of_right++] = place.slot;
  }
}

std::unique_ptr<MergeLearner::Implementation> lay_out(const PieceCounter& corpus,
                                                      const LearnOptions& options) {
  constexpr std::size_t kMaxNarrow = std::numeric_limits<std::uint16_t>::max() - to_symbol(255);
  const std::vector<PieceCount> pieces = sorted_pieces(corpus);
  if (num_merges(options) <= kMaxNarrow) return std::make_unique<Learner<std::uint16_t>>(pieces, options);
  return std::make_unique<Learner<std::uint32_t>>(pieces, options);
}

}  // namespace

MergeLearner::MergeLearner(const PieceCounter& corpus, const LearnOptions& options)
    : implementation_(lay_out(corpus, options)) {
  implementation_->start(options.continue_from);
}

MergeLearner::MergeLearner(PieceCounter&& corpus, const LearnOptions& options)
    : implementation_(lay_out(PieceCounter(std::move(corpus)), options)) {
  implementation_->start(options.continue_from);
}

MergeLearner::MergeLearner(MergeLearner&& other) noexcept = default;
MergeLearner& MergeLearner::operator=(MergeLearner&& other) noexcept = default;
MergeLearner::~MergeLearner() = default;

std::optional<Merge> MergeLearner::next() {
  return implementation_->next();
}

}  // namespace gpt2x::bpe
