// Sorting a text's features, each kept once.
#pragma once

#include <cstdint>
#include <vector>

namespace gpt2x::text {

// Sorts `codes` and drops repetitions; `spare` is room that is used again from call to call.
void sort_once(std::vector<uint32_t>& codes, std::vector<uint32_t>& spare);

}  // namespace gpt2x::text
