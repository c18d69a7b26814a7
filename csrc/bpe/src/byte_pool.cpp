#include "gpt2x/bpe/internal/byte_pool.hpp"

#include <stdexcept>
#include <utility>

namespace gpt2x::bpe {

std::uint32_t BytePool::insert(std::string_view bytes, std::uint32_t number) {
  Slot& slot = slots_[slot_of(bytes)];
  if (slot.number != kAbsent) return slot.number;

  constexpr std::size_t kMaxArena = std::numeric_limits<std::uint32_t>::max();
  if (bytes.size() > kMaxArena - arena_.size())
    throw std::length_error("distinct pieces take more than 4 GiB");
  if (number >= spans_.size()) spans_.resize(std::size_t{number} + 1);
  const auto length = static_cast<std::uint32_t>(bytes.size());
  spans_[number] = {static_cast<std::uint32_t>(arena_.size()), length};
  arena_ += bytes;
  slot = {load_head(bytes), length, number};
  if (++size_ * 2 > slots_.size()) grow();
  return number;
}

void BytePool::grow() {
  std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(slots_.size() * 2));
  for (const Slot& slot : old) {
    if (slot.number != kAbsent) slots_[slot_of((*this)[slot.number])] = slot;
  }
}

}  // namespace gpt2x::bpe
