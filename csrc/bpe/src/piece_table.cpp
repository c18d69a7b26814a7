#include "piece_table.hpp"

#include <limits>
#include <stdexcept>
#include <utility>

#include "gpt2x/bpe/internal/splitter.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"

namespace gpt2x::bpe {

// ---------------------------------------------------------------------------------------------------------------------
// PieceShard

bool PieceShard::add(const ShortKey& key, std::uint64_t hash, std::uint64_t count) {
  Slot* slot = &find(key, hash);
  const bool is_new = slot->tail == 0;
  const bool moves = is_new && num_short_ + 1 > slots_.size() / 2;
  if (moves) {
    grow();
    slot = &find(key, hash);
  }
  if (is_new) {
    *slot = {key.head, key.tail, 0};
    ++num_short_;
  }
  // In two steps, so that the sum cannot leave 64 bits before the counts do.
  const std::uint64_t low = slot->count + (count & std::numeric_limits<std::uint32_t>::max());
  const std::uint64_t high = (count >> 32) + (low >> 32);
  slot->count = static_cast<std::uint32_t>(low);
  if (high != 0) carries_[std::string(slot->piece())] += high;
  return moves;
}

void PieceShard::add_long(std::string_view piece, std::uint64_t count) {
  const auto next = static_cast<std::uint32_t>(long_counts_.size());
  if (next == BytePool::kAbsent) throw std::length_error("more than four billion distinct long pieces");
  const std::uint32_t index = long_pieces_.insert(piece, next);
  if (index == next) long_counts_.push_back(0);
  long_counts_[index] += count;
}

void PieceShard::add(const PieceShard& other) {
  for (const Slot& slot : other.slots_) {
    if (slot.tail != 0) add(slot.key(), slot.key().hash(hash_key_), other.count_of(slot));
  }
  for (std::size_t i = 0; i < other.long_counts_.size(); ++i) {
    add_long(other.long_pieces_[static_cast<std::uint32_t>(i)], other.long_counts_[i]);
  }
}

template <typename Use>
void PieceShard::for_each(const Use& use) const {
  for (const Slot& slot : slots_) {
    if (slot.tail != 0) use(slot.piece(), count_of(slot));
  }
  for (std::size_t i = 0; i < long_counts_.size(); ++i) {
    use(long_pieces_[static_cast<std::uint32_t>(i)], long_counts_[i]);
  }
}

// Where the piece is, or the empty slot where it would go. There is always an empty slot.
PieceShard::Slot& PieceShard::find(const ShortKey& key, std::uint64_t hash) {
  std::size_t index = home_index(hash);
  while (slots_[index].tail != 0 && slots_[index].key() != key) index = (index + 1) & (slots_.size() - 1);
  return slots_[index];
}

// Slots are in the order of hashes, nearly, so they move to the larger table from its start to its end.
void PieceShard::grow() {
  const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(slots_.size() * 2));
  --shift_;
  for (const Slot& slot : old) {
    if (slot.tail != 0) find(slot.key(), slot.key().hash(hash_key_)) = slot;
  }
}

std::uint64_t PieceShard::count_of(const Slot& slot) const {
  if (carries_.empty()) return slot.count;
  const auto high = carries_.find(std::string(slot.piece()));
  return slot.count + (high == carries_.end() ? 0 : high->second << 32);
}

// ---------------------------------------------------------------------------------------------------------------------
// PieceTable

// Short pieces on their way into the table. They wait for each other while their slots come from memory.
class PieceTable::Batch {
 public:
  explicit Batch(PieceTable& table) : table_(table) {}

  void add(const ShortKey& key) {
    PieceShard::Slot* const home = home_of(key);
    __builtin_prefetch(home);
    waiting_[size_++] = {key, home};
    if (size_ == waiting_.size()) flush();
  }

  void flush() {
    for (std::size_t i = 0; i < size_; ++i) {
      const auto [key, home] = waiting_[i];
      if (home->try_increment(key)) [[likely]]
        continue;
      const std::uint64_t hash = key.hash(table_.hash_key_);
      const bool moved = table_.shard_of(hash).add(key, hash, 1);
      if (moved) find_homes(i + 1);
    }
    size_ = 0;
  }

 private:
  struct Waiting {
    ShortKey key;
    PieceShard::Slot* home;
  };

  PieceShard::Slot* home_of(const ShortKey& key) {
    const std::uint64_t hash = key.hash(table_.hash_key_);
    return table_.shard_of(hash).home(hash);
  }

  void find_homes(std::size_t first) {
    for (std::size_t i = first; i < size_; ++i) waiting_[i].home = home_of(waiting_[i].key);
  }

  PieceTable& table_;
  std::size_t size_ = 0;
  std::array<Waiting, 256> waiting_;
};

void PieceTable::add_text(Pattern pattern, std::string_view text) {
  Batch batch(*this);
  const char* const text_end = text.data() + text.size();
  Splitter splitter(pattern, text, valid_utf8_prefix(text) == text.size());
  while (splitter.next()) {
    const char* start = text.data() + splitter.start();
    const char* const base = text.data() + splitter.base();
    for (const std::uint32_t end : splitter.ends()) {
      const std::string_view piece(start, static_cast<std::size_t>(base + end - start));
      start = base + end;
      if (piece.size() > ShortKey::kMaxSize) [[unlikely]] {
        add_long(piece, 1);
      } else if (static_cast<std::size_t>(text_end - piece.data()) >= ShortKey::kReadable) [[likely]] {
        batch.add(ShortKey::of_readable(piece.data(), piece.size()));
      } else {
        batch.add(ShortKey::of(piece));
      }
    }
    num_pieces_ += splitter.ends().size();
  }
  batch.flush();
  num_bytes_ += text.size();
}

void PieceTable::add_piece(std::string_view piece, std::uint64_t count) {
  if (piece.size() > ShortKey::kMaxSize) {
    add_long(piece, count);
  } else {
    const ShortKey key = ShortKey::of(piece);
    const std::uint64_t hash = key.hash(hash_key_);
    shard_of(hash).add(key, hash, count);
  }
  num_pieces_ += count;
  num_bytes_ += count * piece.size();
}

void PieceTable::add_long(std::string_view piece, std::uint64_t count) {
  // The shard need not depend on all bytes; the shard's own table looks at them.
  const std::string_view end = piece.substr(piece.size() - ShortKey::kMaxSize);
  shard_of(ShortKey::of(end).hash(hash_key_)).add_long(piece, count);
}

void PieceTable::take_shard(PieceTable& other, std::size_t shard) {
  shards_[shard].add(other.shards_[shard]);
  other.shards_[shard] = PieceShard();
}

void PieceTable::add_totals(const PieceTable& other) {
  num_bytes_ += other.num_bytes_;
  num_pieces_ += other.num_pieces_;
}

std::size_t PieceTable::num_unique() const {
  std::size_t sum = 0;
  for (const PieceShard& shard : shards_) sum += shard.num_unique();
  return sum;
}

void PieceTable::for_each(const std::function<void(std::string_view, std::uint64_t)>& use) const {
  for (const PieceShard& shard : shards_) shard.for_each(use);
}

}  // namespace gpt2x::bpe
