// The gradient of one row of an embedding table: the sum over the places where its token stands.
#pragma once

#include "team.h"

namespace gpt2x::rows {

// row += dy[places[0]] + dy[places[1]] + …, summed wide and in this order, rounded once.
template <class Team, class T, class P, class W = Wide<T>>
GPT2X_HD void embedding_backward_row(const Team& team, const T* dy, const int64_t* places, int64_t count,
                                     int64_t C, P* row) {
  for (int64_t i = team.lane(); i < C; i += team.stride()) {
    W total = widen_to<W>(row[i]);
    for (int64_t k = 0; k < count; ++k) total += widen(dy[places[k] * C + i]);
    row[i] = narrow<P>(static_cast<Wide<P>>(total));
  }
}

}  // namespace gpt2x::rows
