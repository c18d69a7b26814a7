// Attention of one new token in one head: it sees all S tokens of the cache, itself the last.
#pragma once

#include "gemv.h"

namespace gpt2x::rows {

// y = softmax(q K^T / sqrt(D)) V for one head. Rows of K and V stand `key_stride` and `value_stride` elements
// apart, their D elements side by side. `scores` (S) and `total` (D) are room for the team; y may have
// another type.
//
// One pass over K, one over V: at S = 1024, D = 64 half a megabyte in float32, each byte read once.
template <class Team, class T, class W = Wide<T>>
GPT2X_HD void decode_attention_head(const Team& team, const T* query, const T* keys, int64_t key_stride,
                                    const T* values, int64_t value_stride, int64_t S, int64_t D, W scale,
                                    W* scores, W* total, T* y) {
  W highest = -INFINITY;
  for (int64_t s = 0; s < S; ++s) {
    const W score = team.sum(dot<W>(team, keys + s * key_stride, query, D)) * scale;
    if (s % team.stride() == team.lane()) scores[s] = score;
    highest = score > highest ? score : highest;
  }
  team.sync();
  W mass = 0;
  GPT2X_SIMD_SUM(mass)
  for (int64_t s = team.lane(); s < S; s += team.stride()) {
    scores[s] = exponential(scores[s] - highest);
    mass += scores[s];
  }
  const W inverse = W(1) / team.sum(mass);
  team.sync();
  for (int64_t i = team.lane(); i < D; i += team.stride()) total[i] = 0;
  for (int64_t s = 0; s < S; ++s) {
    const W weight = scores[s] * inverse;
    const T* value = values + s * value_stride;
    GPT2X_SIMD
    for (int64_t i = team.lane(); i < D; i += team.stride()) total[i] += weight * widen(value[i]);
  }
  for (int64_t i = team.lane(); i < D; i += team.stride()) y[i] = narrow<T>(total[i]);
}

}  // namespace gpt2x::rows
