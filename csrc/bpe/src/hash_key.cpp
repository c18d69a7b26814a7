#include "gpt2x/bpe/internal/hash_key.hpp"

#include <random>

namespace gpt2x::bpe {

const HashKey& hash_key() {
  static const HashKey key = [] {
    std::random_device device;
    const auto draw = [&device] { return std::uint64_t{device()} << 32 | device(); };
    return HashKey{draw(), draw() | 1};
  }();
  return key;
}

}  // namespace gpt2x::bpe
