// The contractions of GPT-2's pattern, which are case-sensitive (those of cl100k and o200k are not).
#pragma once

#include <cstddef>
#include <string_view>

namespace gpt2x::bpe {

/// `'(?:[sdmt]|ll|ve|re)`: how long the contraction is whose apostrophe stands at `pos`, 0 if there is none.
/// Always inlined, since kernels use it (see target.hpp).
[[gnu::always_inline]] inline std::size_t gpt2_contraction_length(std::string_view text, std::size_t pos) {
  const char first = pos + 1 < text.size() ? text[pos + 1] : '\0';
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  const char second = pos + 2 < text.size() ? text[pos + 2] : '\0';
  const bool two = (first == 'l' && second == 'l') || ((first == 'v' || first == 'r') && second == 'e');
  return two ? 3 : 0;
}

}  // namespace gpt2x::bpe
