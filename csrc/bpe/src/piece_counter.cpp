#include "gpt2x/bpe/piece_counter.hpp"

#include <algorithm>
#include <stdexcept>
#include <thread>

#include "parallel.hpp"

namespace gpt2x::bpe {
namespace {

// Less than this is not worth a thread.
constexpr std::size_t kMinBytesPerThread = std::size_t{1} << 18;

// Cuts a text into about `num_parts` parts that can be split on their own.
std::vector<std::string_view> cut_safely(Pattern pattern, std::string_view text, std::size_t num_parts) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t cut =
        num_parts <= 1 ? text.size() : find_safe_cut(pattern, text, text.size() / num_parts);
    parts.push_back(text.substr(0, cut));
    text.remove_prefix(cut);
    num_parts -= num_parts > 1;
  }
  return parts;
}

}  // namespace

void PieceCounter::add(std::string_view text, unsigned num_threads) {
  if (num_threads == 0) num_threads = std::max(1u, std::thread::hardware_concurrency());
  const std::size_t num_parts = std::min<std::size_t>(num_threads, text.size() / kMinBytesPerThread + 1);
  if (num_parts == 1) {
    for_each_piece(pattern_, text, [&](std::string_view piece) { add_piece(piece, 1); });
    return;
  }

  // Each part is counted by itself; adding them up in the order of the text gives the order of first
  // occurrence.
  const std::vector<std::string_view> parts = cut_safely(pattern_, text, num_parts);
  std::vector<PieceCounter> counters(parts.size(), PieceCounter(pattern_));
  parallel_for(parts.size(), num_threads, [&](std::size_t i) { counters[i].add(parts[i]); });
  for (const PieceCounter& counter : counters) {
    for (std::size_t i = 0; i < counter.num_unique(); ++i) add_piece(counter.piece(i), counter.count(i));
  }
}

void PieceCounter::add_piece(std::string_view piece, std::uint64_t count) {
  const auto next = static_cast<std::uint32_t>(counts_.size());
  if (next == BytePool::kAbsent) throw std::length_error("more than four billion distinct pieces");
  const std::uint32_t index = pool_.insert(piece, next);
  if (index == next) counts_.push_back(0);
  counts_[index] += count;
  num_pieces_ += count;
}

}  // namespace gpt2x::bpe
