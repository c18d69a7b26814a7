// The sum of squares of a span; the norm of many tensors is the root of the sum over their spans.
#pragma once

#include "team.h"

namespace gpt2x::rows {

// What this lane has seen; the caller adds the lanes up.
template <class Team, class T, class W = Wide<T>>
GPT2X_HD W sum_of_squares(const Team& team, const T* x, int64_t n) {
  W total = 0;
  GPT2X_SIMD_SUM(total)
  for (int64_t i = team.lane(); i < n; i += team.stride()) total += widen(x[i]) * widen(x[i]);
  return total;
}

}  // namespace gpt2x::rows
