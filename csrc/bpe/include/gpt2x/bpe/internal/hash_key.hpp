// What makes the hashes of one process different from those of another: nobody can write a file whose keys
// all fall into one place of a table, which would make every look-up a walk through the table. No result
// depends on it.
#pragma once

#include <cstdint>

namespace gpt2x::bpe {

struct HashKey {
  std::uint64_t mask;        // to be mixed into a value before it is multiplied
  std::uint64_t multiplier;  // odd
};

/// Drawn when it is asked for first; the same in the whole process.
[[nodiscard]] const HashKey& hash_key();

}  // namespace gpt2x::bpe
