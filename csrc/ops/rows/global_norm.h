// The sum of squares of a span; the norm of many tensors is the root of the sum over their spans.
#pragma once

#include "pack.h"

namespace gpt2x::rows {

// What this lane has seen; the caller adds the lanes up.
template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD W sum_of_squares(const Team& team, const T* x, int64_t n) {
  return sum_each<W>(
      team, n, [](T element) { return to_accumulation(element) * to_accumulation(element); }, In<T>{x});
}

}  // namespace gpt2x::rows
