// What makes the hashes of one process different from those of another: nobody can write a file whose keys
// all fall into one place of a table, which would make every look-up a walk through the table. No result
// depends on it.
#pragma once

#include <cstdint>

namespace gpt2x::bpe {

/// Both halves of the 128-bit product, so that each bit depends on all bits of the factors.
[[gnu::always_inline]] inline std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{a} * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

struct HashKey {
  std::uint64_t mask;
  std::uint64_t multiplier;  // odd

  [[nodiscard]] std::uint64_t mix(std::uint64_t value) const { return fold(value ^ mask, multiplier); }
  [[nodiscard]] std::uint64_t mix(std::uint64_t first, std::uint64_t second) const {
    return fold(first ^ mask, second ^ multiplier);
  }
};

/// Drawn when it is asked for first; the same in the whole process.
[[nodiscard]] const HashKey& hash_key();

}  // namespace gpt2x::bpe
