#include "gpt2x/bpe/internal/pair_map.hpp"

#include <algorithm>
#include <utility>

namespace gpt2x::bpe {

std::uint32_t PairMap::insert(TokenPair pair, std::uint32_t value) {
  if (const std::uint32_t present = find(pair); present != kAbsent) return present;
  if (++size_ > 2 * num_buckets()) grow();
  put(key_of(pair), value);
  return value;
}

// Into the first bucket from the key's own on that is not full.
void PairMap::put(std::uint64_t key, std::uint32_t value) {
  const std::uint64_t hash = key * multiplier_;
  const std::uint64_t bit = hash >> (shift_ - kFilterShift);
  filter_[bit / 64] |= std::uint64_t{1} << bit % 64;
  for (std::size_t i = hash >> shift_;; i = (i + 1) & (num_buckets() - 1)) {
    Bucket& bucket = buckets_[i];
    const auto empty = std::ranges::find(bucket.keys, kNoKey);
    if (empty == bucket.keys.end()) {
      bucket.overflowed = true;
      continue;
    }
    bucket.values[static_cast<std::size_t>(empty - bucket.keys.begin())] = value;
    *empty = key;
    return;
  }
}

void PairMap::grow() {
  const std::vector<Bucket> old = std::exchange(buckets_, std::vector<Bucket>(2 * num_buckets() + 1));
  filter_.assign(filter_.size() * 2, 0);
  --shift_;
  for (const Bucket& bucket : old) {
    for (std::size_t i = 0; i < kPlaces; ++i) {
      if (bucket.keys[i] != kNoKey) put(bucket.keys[i], bucket.values[i]);
    }
  }
}

}  // namespace gpt2x::bpe
