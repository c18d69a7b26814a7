// The bias of a linear layer, going backward.
#pragma once

#include "team.h"

namespace gpt2x::rows {

// dbias += dy, accumulated over the rows of one team, each lane its own columns.
template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD void linear_bias_backward_row(const Team& team, const T* dy, int64_t C, W* dbias) {
  GPT2X_SIMD
  for (int64_t i = team.lane(); i < C; i += team.stride()) dbias[i] += to_accumulation(dy[i]);
}

}  // namespace gpt2x::rows
