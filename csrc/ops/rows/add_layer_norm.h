// One row of sum = x + residual, y = (sum - mean) * rstd * weight + bias, and of its gradient.
//
// T is the storage type of activations, P that of the parameters, W = Wide<T> what is computed in.
#pragma once

#include "team.h"

namespace gpt2x::rows {

// `sum` is written only where there is a residual. The statistics are those of the *stored* sum, so that
// backward, which reads it, sees the numbers that forward saw.
template <class Team, class T, class P, class W = Wide<T>>
GPT2X_HD void add_layer_norm_row(const Team& team, const T* x, const T* residual, const P* weight,
                                 const P* bias, int64_t C, W eps, T* sum, T* y, W* mean, W* rstd) {
  W total = 0;
  if (residual != nullptr) {
    GPT2X_SIMD_SUM(total)
    for (int64_t i = team.lane(); i < C; i += team.stride()) {
      const T stored = narrow<T>(widen(x[i]) + widen(residual[i]));
      sum[i] = stored;
      total += widen(stored);
    }
  } else {
    GPT2X_SIMD_SUM(total)
    for (int64_t i = team.lane(); i < C; i += team.stride()) total += widen(x[i]);
  }
  const T* row = residual != nullptr ? sum : x;  // each lane reads back only what it wrote itself
  const W center = team.sum(total) / static_cast<W>(C);
  // Squares of the centred values: E[x^2] - E[x]^2 would cancel for rows far from zero.
  W squares = 0;
  GPT2X_SIMD_SUM(squares)
  for (int64_t i = team.lane(); i < C; i += team.stride()) {
    const W d = widen(row[i]) - center;
    squares += d * d;
  }
  const W scale = W(1) / static_cast<W>(sqrt(team.sum(squares) / static_cast<W>(C) + eps));
  if (bias != nullptr) {
    GPT2X_SIMD
    for (int64_t i = team.lane(); i < C; i += team.stride()) {
      y[i] = narrow<T>((widen(row[i]) - center) * scale * widen_to<W>(weight[i]) + widen_to<W>(bias[i]));
    }
  } else {
    GPT2X_SIMD
    for (int64_t i = team.lane(); i < C; i += team.stride()) {
      y[i] = narrow<T>((widen(row[i]) - center) * scale * widen_to<W>(weight[i]));
    }
  }
  if (team.lane() == 0) {
    *mean = center;
    *rstd = scale;
  }
}

// With xhat = (sum - mean) * rstd and g = dy * weight:
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)) + dsum      (also the gradient of the residual)
//   dweight += dy * xhat, dbias += dy
// Activations' gradients are overwritten, parameters' accumulate: `dweight` and `dbias` are the partial sums
// of the rows that one team walks, and each lane adds only to its own columns. A null `dsum` counts as zeros.
template <class Team, class T, class P, class W = Wide<T>>
GPT2X_HD void add_layer_norm_backward_row(const Team& team, const T* dy, const T* dsum, const T* sum,
                                          const P* weight, W mean, W rstd, int64_t C, T* dx, W* dweight,
                                          W* dbias) {
  W g_total = 0, g_xhat_total = 0;
  GPT2X_SIMD_SUM(g_total, g_xhat_total)
  for (int64_t i = team.lane(); i < C; i += team.stride()) {
    const W upstream = widen(dy[i]);
    const W xhat = (widen(sum[i]) - mean) * rstd;
    const W g = upstream * widen_to<W>(weight[i]);
    g_total += g;
    g_xhat_total += g * xhat;
    dweight[i] += upstream * xhat;
    dbias[i] += upstream;
  }
  const W g_mean = team.sum(g_total) / static_cast<W>(C);
  const W g_xhat_mean = team.sum(g_xhat_total) / static_cast<W>(C);
  GPT2X_SIMD
  for (int64_t i = team.lane(); i < C; i += team.stride()) {
    const W xhat = (widen(sum[i]) - mean) * rstd;
    const W g = widen(dy[i]) * widen_to<W>(weight[i]);
    const W through_norm = rstd * (g - g_mean - xhat * g_xhat_mean);
    dx[i] = narrow<T>(dsum != nullptr ? through_norm + widen(dsum[i]) : through_norm);
  }
}

}  // namespace gpt2x::rows
