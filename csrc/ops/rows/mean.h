// The mean of several arrays, element by element: added in their order, then divided by their number, as
// torch's copy_, add_ and div_ do it, to the last bit.
#pragma once

#include "pack.h"

namespace gpt2x::rows {

// The sum of the squares of the means that this lane wrote; the caller adds the lanes up. `out` may be the
// first of the addends. Of two addends each is read once; the sums of more are written to `out` in between,
// which for a short row stays in the nearest cache.
template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD W mean_row(const Team& team, const T* const* addends, int64_t count, int64_t n, W* out) {
  const W divisor = static_cast<W>(count);
  if (count == 2) {
    const auto mean = [=](T one, T other, W& to) {
      to = (to_accumulation(one) + to_accumulation(other)) / divisor;
      return to * to;
    };
    return sum_each<W>(team, n, mean, In<T>{addends[0]}, In<T>{addends[1]}, Out<W>{out});
  }
  each(team, n, [](T first, W& to) { to = to_accumulation(first); }, In<T>{addends[0]}, Out<W>{out});
  for (int64_t j = 1; j < count; ++j) {
    each(team, n, [](T more, W& to) { to += to_accumulation(more); }, In<T>{addends[j]}, InOut<W>{out});
  }
  const auto divide = [=](W& to) {
    to /= divisor;
    return to * to;
  };
  return sum_each<W>(team, n, divide, InOut<W>{out});
}

}  // namespace gpt2x::rows
