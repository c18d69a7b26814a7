#include "gpt2x/bpe/internal/encoder.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <queue>
#include <stdexcept>

namespace gpt2x::bpe {

namespace {

// The parts of a short piece: the possible merges stand in an array by the place of their left part, each as
// one number, rank above, place below, so that the lowest number is the leftmost merge of lowest rank. The
// lowest of every eight is kept, which leaves little to look at after a merge has changed three of them.
class ScanMerger {
 public:
  ScanMerger(const VocabularyTables& vocabulary, std::string_view piece, TokenId rank_limit)
      : vocabulary_(vocabulary),
        limit_(rank_limit > kNone / kMaxScanBytes ? kNone : rank_limit * kMaxScanBytes),
        starts_(piece.size() == kMaxScanBytes ? ~std::uint64_t{0} : (std::uint64_t{1} << piece.size()) - 1),
        num_groups_((piece.size() + kGroup - 1) / kGroup) {
    for (std::size_t i = 0; i < piece.size(); ++i) tokens_[i] = vocabulary.token_of_byte(piece[i]);
    for (std::size_t i = 0; i + 1 < piece.size(); ++i) {
      merges_[i] = merge_at(i, vocabulary.merged_bytes(piece[i], piece[i + 1]));
    }
    for (std::size_t i = piece.size() - 1; i < num_groups_ * kGroup; ++i) merges_[i] = kNone;
    for (std::size_t group = 0; group < num_groups_; ++group) update_lowest(group);
  }

  void run() {
    for (Merge lowest = find_lowest(); lowest < limit_; lowest = find_lowest()) {
      apply(lowest % kMaxScanBytes, lowest / kMaxScanBytes);
    }
  }

  TokenId* write_to(TokenId* out) const {
    for (std::uint64_t left = starts_; left != 0; left &= left - 1) *out++ = tokens_[std::countr_zero(left)];
    return out;
  }

 private:
  using Merge = std::uint32_t;
  static constexpr Merge kNone = std::numeric_limits<Merge>::max();
  static constexpr std::size_t kGroup = 8;
  static_assert(kMaxScanBytes == 64 && Vocabulary::kMaxSize <= kNone / kMaxScanBytes);

  static Merge merge_at(std::size_t place, TokenId rank) {
    return rank == kNoToken ? kNone : static_cast<Merge>(rank * kMaxScanBytes + place);
  }

  void update_lowest(std::size_t group) {
    const Merge* const merges = &merges_[group * kGroup];
    const auto lower = [&](std::size_t i) { return std::min(merges[i], merges[i + 1]); };
    lowest_[group] = std::min(std::min(lower(0), lower(2)), std::min(lower(4), lower(6)));
  }

  [[nodiscard]] Merge find_lowest() const {
    Merge lowest = lowest_[0];
    for (std::size_t group = 1; group < num_groups_; ++group) lowest = std::min(lowest, lowest_[group]);
    return lowest;
  }

  void apply(std::size_t place, TokenId merged) {
    const std::size_t gone = next(place);
    tokens_[place] = merged;
    starts_ &= ~(std::uint64_t{1} << gone);
    merges_[gone] = kNone;
    const std::uint64_t behind = starts_ >> place >> 1;
    merges_[place] =
        behind == 0
            ? kNone
            : merge_at(place, vocabulary_.merged({merged, tokens_[place + 1 + std::countr_zero(behind)]}));
    update_lowest(place / kGroup);
    update_lowest(gone / kGroup);
    if (const std::uint64_t before = starts_ & ((std::uint64_t{1} << place) - 1); before != 0) {
      const std::size_t previous = 63 - std::countl_zero(before);
      merges_[previous] = merge_at(previous, vocabulary_.merged({tokens_[previous], merged}));
      update_lowest(previous / kGroup);
    }
  }

  [[nodiscard]] std::size_t next(std::size_t place) const {
    return place + 1 + std::countr_zero(starts_ >> place >> 1);
  }

  const VocabularyTables& vocabulary_;
  Merge limit_;           // merges below this
  std::uint64_t starts_;  // where parts start
  std::size_t num_groups_;
  std::array<TokenId, kMaxScanBytes> tokens_;
  std::array<Merge, kMaxScanBytes> merges_;
  std::array<Merge, kMaxScanBytes / kGroup> lowest_;
};

}  // namespace

TokenId* merge_by_scan(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out,
                       TokenId rank_limit) {
  if (piece.empty()) return out;
  ScanMerger merger(vocabulary, piece, rank_limit);
  merger.run();
  return merger.write_to(out);
}

namespace {

// A piece as a doubly linked list of parts, and a heap of the merges that were possible when they were put
// there. An entry whose part has merged since no longer carries that part's rank, and is passed over.
class HeapMerger {
 public:
  HeapMerger(const VocabularyTables& vocabulary, std::string_view piece, TokenId rank_limit, StopFlag& stop)
      : vocabulary_(vocabulary), rank_limit_(rank_limit), stop_(stop), parts_(piece.size()) {
    const auto size = static_cast<Index>(piece.size());
    for (Index i = 0; i < size; ++i) {
      stop.check();
      parts_[i] = {vocabulary.token_of_byte(piece[i]), kNoToken, i == 0 ? kNone : i - 1,
                   i + 1 == size ? kNone : i + 1};
    }
    std::vector<Entry> entries;
    for (Index i = 0; i < size; ++i) {
      stop.check();
      if (update_rank(i)) entries.push_back(entry_of(i));
    }
    heap_ = Heap({}, std::move(entries));
  }

  void run() {
    while (!heap_.empty()) {
      stop_.check();
      const Entry entry = heap_.top();
      heap_.pop();
      const auto part = static_cast<Index>(entry);
      if (parts_[part].rank == entry >> 32) merge_with_next(part);
    }
  }

  TokenId* write_to(TokenId* out) const {
    for (Index i = 0; i != kNone; i = parts_[i].next) *out++ = parts_[i].token;
    return out;
  }

 private:
  using Index = std::uint32_t;
  static constexpr Index kNone = std::numeric_limits<Index>::max();

  struct Part {
    TokenId token;
    TokenId rank;  // of merging with the next part; kNoToken also for a part that is no more
    Index previous;
    Index next;
  };

  // Rank above, place below: the smallest entry is the leftmost merge of lowest rank.
  using Entry = std::uint64_t;
  using Heap = std::priority_queue<Entry, std::vector<Entry>, std::greater<>>;

  Entry entry_of(Index i) const { return Entry{parts_[i].rank} << 32 | i; }

  bool update_rank(Index i) {
    Part& part = parts_[i];
    part.rank = part.next == kNone ? kNoToken : vocabulary_.merged({part.token, parts_[part.next].token});
    if (part.rank >= rank_limit_) part.rank = kNoToken;
    return part.rank != kNoToken;
  }

  void merge_with_next(Index i) {
    Part& part = parts_[i];
    Part& gone = parts_[part.next];
    part.token = part.rank;
    part.next = gone.next;
    gone.rank = kNoToken;
    if (part.next != kNone) parts_[part.next].previous = i;
    if (update_rank(i)) heap_.push(entry_of(i));
    if (part.previous != kNone && update_rank(part.previous)) heap_.push(entry_of(part.previous));
  }

  const VocabularyTables& vocabulary_;
  TokenId rank_limit_;
  StopFlag& stop_;
  std::vector<Part> parts_;
  Heap heap_;
};

}  // namespace

TokenId* merge_by_heap(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out,
                       TokenId rank_limit, StopFlag& stop) {
  if (piece.size() >= std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("a piece of " + std::to_string(piece.size()) + " bytes is too long to merge");
  }
  if (piece.empty()) return out;
  HeapMerger merger(vocabulary, piece, rank_limit, stop);
  merger.run();
  return merger.write_to(out);
}

namespace {

// A long piece of a consistent vocabulary, by windows: the tokens of a window are those of the piece wherever
// each of them can follow the one before, so only the seams have to be looked at. The last token of a window
// would perhaps have become another one with what comes behind, so the next window starts there. There are
// vocabularies in which what stands far behind decides how a window begins; before all windows together have
// become many times the piece, the heap takes the piece as it is.
class WindowMerger {
 public:
  WindowMerger(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out, StopFlag& stop)
      : vocabulary_(vocabulary), piece_(piece), stop_(stop), first_(out), end_(out) {}

  TokenId* run() {
    std::size_t size = kMaxScanBytes;
    std::size_t num_bytes = 0;  // of all windows that were merged
    while (done_ < piece_.size()) {
      stop_.check();
      const std::string_view window = piece_.substr(done_, size);
      if (window == last_window_) {
        repeat_last_window();
      } else if ((num_bytes += window.size()) > kMostTimes * piece_.size()) {
        return merge_by_heap(vocabulary_, piece_, first_, kNoToken, stop_);
      } else {
        size = append(window) ? kMaxScanBytes : 2 * size;
      }
    }
    return end_;
  }

 private:
  // Text and learned vocabularies take 1.1 to 3 times.
  static constexpr std::size_t kMostTimes = 16;

  // False if nothing could be appended; then a larger window is needed, and perhaps an earlier one.
  bool append(std::string_view window) {
    TokenId* const window_end = merge_bytes(vocabulary_, window, end_, kNoToken, stop_);
    last_window_ = {};
    if (end_ != first_ && !vocabulary_.can_follow(end_[-1], *end_)) {
      done_ -= vocabulary_.bytes_of(*--end_).size();
      return false;
    }
    if (done_ + window.size() == piece_.size()) {
      end_ = window_end;
      done_ = piece_.size();
      return true;
    }
    // A window that is one token is kept all the same: the seam to the next one says whether that was right.
    TokenId* const kept_end = std::max(end_ + 1, window_end - 1);
    num_kept_ = static_cast<std::size_t>(kept_end - end_);
    const std::size_t num_bytes =
        window.size() - (kept_end == window_end ? 0 : vocabulary_.bytes_of(*kept_end).size());
    end_ = kept_end;
    done_ += num_bytes;
    if (vocabulary_.can_follow(end_[-1], end_[-static_cast<std::ptrdiff_t>(num_kept_)])) {
      last_window_ = window;
      num_kept_bytes_ = num_bytes;
    }
    return true;
  }

  // One letter a million times, or a line of dashes: the window before once more.
  void repeat_last_window() {
    end_ = std::copy_n(end_ - num_kept_, num_kept_, end_);
    done_ += num_kept_bytes_;
  }

  const VocabularyTables& vocabulary_;
  std::string_view piece_;
  StopFlag& stop_;
  TokenId* first_;
  TokenId* end_;          // behind the tokens so far
  std::size_t done_ = 0;  // the bytes of these

  // The window before, if its tokens can follow each other in a circle, and what was kept of it.
  std::string_view last_window_;
  std::size_t num_kept_ = 0;
  std::size_t num_kept_bytes_ = 0;
};

}  // namespace

TokenId* merge_bytes(const VocabularyTables& vocabulary, std::string_view bytes, TokenId* out,
                     TokenId rank_limit, StopFlag& stop) {
  if (bytes.size() <= kMaxScanBytes) return merge_by_scan(vocabulary, bytes, out, rank_limit);
  return merge_by_heap(vocabulary, bytes, out, rank_limit, stop);
}

TokenId* merge_by_windows(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out,
                          StopFlag& stop) {
  return WindowMerger(vocabulary, piece, out, stop).run();
}

TokenId* encode_piece(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out,
                      StopFlag& stop) {
  if (const TokenId token = vocabulary.find(piece); token != kNoToken) {
    *out = token;
    return out + 1;
  }
  return merge_by_repeating(vocabulary, piece, out, stop);
}

}  // namespace gpt2x::bpe
