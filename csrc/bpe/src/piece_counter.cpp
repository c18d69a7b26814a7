#include "gpt2x/bpe/trainer.hpp"

#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "gpt2x/bpe/internal/parallel.hpp"
#include "piece_table.hpp"

namespace gpt2x::bpe {
namespace {

// Less than this is not worth a thread.
constexpr std::size_t kMinBytesPerThread = std::size_t{1} << 18;

// What a thread takes from the queue at a time: small enough that all end at about the same time.
constexpr std::size_t kMaxPartBytes = std::size_t{1} << 20;

// Cuts a text into parts that can be split on their own, of about `part_bytes` each.
std::vector<std::string_view> cut_safely(Pattern pattern, std::string_view text, std::size_t part_bytes) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t cut =
        text.size() <= part_bytes ? text.size() : find_safe_cut(pattern, text, part_bytes);
    parts.push_back(text.substr(0, cut));
    text.remove_prefix(cut);
  }
  return parts;
}

}  // namespace

PieceCounter::PieceCounter(Pattern pattern) : pattern_(pattern), table_(std::make_unique<PieceTable>()) {}
PieceCounter::PieceCounter(const PieceCounter& other)
    : pattern_(other.pattern_), table_(std::make_unique<PieceTable>(*other.table_)) {}
PieceCounter::PieceCounter(PieceCounter&& other)
    : pattern_(other.pattern_), table_(std::exchange(other.table_, std::make_unique<PieceTable>())) {}
PieceCounter::~PieceCounter() = default;

PieceCounter& PieceCounter::operator=(PieceCounter other) noexcept {
  pattern_ = other.pattern_;
  std::swap(table_, other.table_);
  return *this;
}

void PieceCounter::add(std::string_view text, unsigned num_threads) {
  num_threads = num_threads_for(num_threads);
  const std::size_t num_tables = std::min<std::size_t>(num_threads, text.size() / kMinBytesPerThread + 1);
  if (num_tables == 1) return table_->add_text(pattern_, text);

  // Every thread counts into a table of its own, the first one into ours; then the others are added to it.
  const std::vector<std::string_view> parts =
      cut_safely(pattern_, text, std::min(kMaxPartBytes, text.size() / num_tables + 1));
  std::vector<PieceTable> helpers(num_tables - 1);
  std::atomic<std::size_t> next_part{0};
  parallel_for(num_tables, num_threads, [&](std::size_t i) {
    PieceTable& table = i == 0 ? *table_ : helpers[i - 1];
    for (std::size_t part = next_part++; part < parts.size(); part = next_part++) {
      table.add_text(pattern_, parts[part]);
    }
  });
  parallel_for(PieceTable::kNumShards, num_threads, [&](std::size_t shard) {
    for (PieceTable& helper : helpers) table_->take_shard(helper, shard);
  });
  for (const PieceTable& helper : helpers) table_->add_totals(helper);
}

void PieceCounter::add_piece(std::string_view piece, std::uint64_t count) {
  if (piece.empty()) throw std::invalid_argument("a piece is empty");
  table_->add_piece(piece, count);
}

std::uint64_t PieceCounter::num_bytes() const {
  return table_->num_bytes();
}

std::uint64_t PieceCounter::num_pieces() const {
  return table_->num_pieces();
}

std::size_t PieceCounter::num_unique() const {
  return table_->num_unique();
}

void PieceCounter::for_each(const std::function<void(std::string_view, std::uint64_t)>& use) const {
  table_->for_each(use);
}

std::vector<std::pair<std::string_view, std::uint64_t>> PieceCounter::items() const {
  std::vector<std::pair<std::string_view, std::uint64_t>> all;
  all.reserve(num_unique());
  for_each([&](std::string_view piece, std::uint64_t count) { all.emplace_back(piece, count); });
  std::ranges::sort(all, [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  return all;
}

}  // namespace gpt2x::bpe
