// The gradient of one row of an embedding table: the sum over the places where its token stands.
#pragma once

#include "team.h"

namespace gpt2x::rows {

// row += dy[places[0]] + dy[places[1]] + …, summed in the accumulation dtype and in this order, rounded once.
// The sums of a tile of columns stay in registers or in the nearest cache while the places go by, each read
// side by side.
template <class Team, class T, class P, class W = Accumulation<T>>
GPT2X_HD void embedding_backward_row(const Team& team, const T* dy, const int64_t* places, int64_t count,
                                     int64_t C, P* row) {
  constexpr int64_t kTile = 64;
  W total[kTile];
  for (int64_t begin = team.lane() * kTile; begin < C; begin += team.stride() * kTile) {
    const int64_t width = C - begin < kTile ? C - begin : kTile;
    GPT2X_SIMD
    for (int64_t i = 0; i < width; ++i) total[i] = convert_to<W>(row[begin + i]);
    for (int64_t k = 0; k < count; ++k) {
      const T* from = dy + places[k] * C + begin;
      GPT2X_SIMD
      for (int64_t i = 0; i < width; ++i) total[i] += to_accumulation(from[i]);
    }
    GPT2X_SIMD
    for (int64_t i = 0; i < width; ++i)
      row[begin + i] = to_storage<P>(static_cast<Accumulation<P>>(total[i]));
  }
}

}  // namespace gpt2x::rows
