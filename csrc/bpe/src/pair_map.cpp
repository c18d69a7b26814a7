#include "gpt2x/bpe/pair_map.hpp"

#include <utility>

namespace gpt2x::bpe {

std::uint32_t PairMap::insert(TokenPair pair, std::uint32_t value) {
  Slot& slot = slots_[slot_of(pair)];
  if (slot.value != kAbsent) return slot.value;
  put(slot, {pair.left, pair.right, value});
  if (++size_ * 2 > slots_.size()) grow();
  return value;
}

void PairMap::put(Slot& slot, const Slot& contents) {
  slot = contents;
  const std::uint64_t bit = hash_of({contents.left, contents.right}) >> (shift_ - kFilterShift);
  filter_[bit / 64] |= std::uint64_t{1} << bit % 64;
}

void PairMap::grow() {
  const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>((slots_.size() - 1) * 2 + 1));
  filter_.assign(filter_.size() * 2, 0);
  --shift_;
  for (const Slot& slot : old) {
    if (slot.value != kAbsent) put(slots_[slot_of({slot.left, slot.right})], slot);
  }
}

}  // namespace gpt2x::bpe
