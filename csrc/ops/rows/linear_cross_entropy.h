// One row of softmax cross-entropy over logits, whose gradient takes the logits' place.
#pragma once

#include "team.h"

namespace gpt2x::rows {

// Loss of one row: log(sum_j e^(x_j - m)) + (m - x_target) with m = max_j x_j, over the first V of Vp
// columns. With `write_gradient` the logits become (softmax - onehot(target)) * scale, and 0 in the padding
// from V on. The target must lie in [0, V).
//
// Three passes over the row: maximum, sum of exponentials, gradient. A row of 50304 floats stays in a core's
// L2 between them, so memory sees one read and one write.
template <class Team, class T, class W = Wide<T>>
GPT2X_HD W cross_entropy_row(const Team& team, T* logits, int64_t V, int64_t Vp, int64_t target, W scale,
                             bool write_gradient) {
  W highest = -INFINITY;
  GPT2X_SIMD_MAX(highest)
  for (int64_t i = team.lane(); i < V; i += team.stride()) {
    const W x = widen(logits[i]);
    highest = x > highest ? x : highest;
  }
  const W m = team.max(highest);
  W mass = 0;
  GPT2X_SIMD_SUM(mass)
  for (int64_t i = team.lane(); i < V; i += team.stride()) mass += exponential(widen(logits[i]) - m);
  const W total = team.sum(mass);
  const W below_top = widen(logits[target]) - m;
  const W loss = static_cast<W>(log(total)) - below_top;
  if (!write_gradient) return loss;

  team.sync();  // every lane has read logits[target]
  const W inverse = W(1) / total;
  GPT2X_SIMD
  for (int64_t i = team.lane(); i < V; i += team.stride()) {
    logits[i] = narrow<T>(exponential(widen(logits[i]) - m) * inverse * scale);
  }
  if (target % team.stride() == team.lane()) {
    logits[target] = narrow<T>((exponential(below_top) * inverse - W(1)) * scale);
  }
  for (int64_t i = V + team.lane(); i < Vp; i += team.stride()) logits[i] = narrow<T>(W(0));
  return loss;
}

// A row that does not count: no loss, no gradient.
template <class Team, class T>
GPT2X_HD void clear_row(const Team& team, T* logits, int64_t Vp) {
  for (int64_t i = team.lane(); i < Vp; i += team.stride()) logits[i] = narrow<T>(Wide<T>(0));
}

}  // namespace gpt2x::rows
