// Code points to UTF-8, 16 at a time, where the processor can (AVX-512 with VBMI2).
#pragma once

#include <cstddef>
#include <span>

#include "target.hpp"

namespace gpt2x::bpe {

#if GPT2X_X86_TARGETS

/// Whether this processor has the instructions for it.
bool can_write_groups();

/// Writes groups of 16 code points as UTF-8 and moves `out` behind them: up to the first group with a
/// surrogate in it, or to where `out`, a buffer for the most bytes that the text may have, could end within
/// 64 bytes. Returns how many code points that were. `Char` as for to_utf8.
template <typename Char>
std::size_t write_groups(std::span<const Char> text, char*& out);

#endif

}  // namespace gpt2x::bpe
