#include "gpt2x/bpe/pair_map.hpp"

#include <utility>

namespace gpt2x::bpe {

std::uint32_t PairMap::insert(TokenPair pair, std::uint32_t value) {
  Slot& slot = slots_[slot_of(pair)];
  if (slot.value != kAbsent) return slot.value;
  slot = {pair, value};
  if (++size_ * 2 > slots_.size()) grow();
  return value;
}

void PairMap::grow() {
  std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(slots_.size() * 2));
  --shift_;
  for (const Slot& slot : old) {
    if (slot.value != kAbsent) slots_[slot_of(slot.pair)] = slot;
  }
}

}  // namespace gpt2x::bpe
