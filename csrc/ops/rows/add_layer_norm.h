// One row of sum = x + residual, y = (sum - mean) * rstd * weight + bias, and of its gradient.
//
// T is the storage type of activations, P that of the parameters, W = Accumulation<T> what is computed in.
#pragma once

#include "pack.h"

namespace gpt2x::rows {

// A mean of more standard deviations than this is corrected: up to here its rounding stays below 1e-6 of y.
constexpr int kFar = 8;

// `sum` is written only where there is a residual. The statistics are those of the *stored* sum, so that
// backward, which reads it, sees the numbers that forward saw.
template <class Team, class T, class P, class W = Accumulation<T>>
GPT2X_HD void add_layer_norm_row(const Team& team, const T* x, const T* residual, const P* weight,
                                 const P* bias, int64_t C, W eps, T* sum, T* y, W* mean, W* rstd) {
  W total;
  if (residual != nullptr) {
    const auto add = [](T from, T plus, T& stored) {
      stored = to_storage<T>(to_accumulation(from) + to_accumulation(plus));
      return to_accumulation(stored);
    };
    total = sum_each<W>(team, C, add, In<T>{x}, In<T>{residual}, Out<T>{sum});
  } else {
    total = sum_each<W>(team, C, [](T stored) { return to_accumulation(stored); }, In<T>{x});
  }
  const In<T> row{residual != nullptr ? sum : x};  // each lane reads back only what it wrote itself
  W center = team.sum(total) / static_cast<W>(C);
  // Squares of the centred values: E[x^2] - E[x]^2 would cancel for rows far from zero.
  const auto square = [=](T stored) {
    const W d = to_accumulation(stored) - center;
    return d * d;
  };
  W variance = team.sum(sum_each<W>(team, C, square, row)) / static_cast<W>(C);
  // What the mean of a row far from zero has lost to rounding is the mean of the centred values. In every row
  // this would take up to 7 % longer in the caches.
  if (center * center > W(kFar * kFar) * variance) {
    const auto centred = [=](T stored) { return to_accumulation(stored) - center; };
    const W rest = team.sum(sum_each<W>(team, C, centred, row)) / static_cast<W>(C);
    center += rest;
    variance = variance > rest * rest ? variance - rest * rest : W(0);
  }
  const W scale = W(1) / static_cast<W>(sqrt(variance + eps));
  const auto normalise = [=](T stored, P gain, P shift, T& out) {
    out = to_storage<T>((to_accumulation(stored) - center) * scale * convert_to<W>(gain) +
                        convert_to<W>(shift));
  };
  each(team, C, normalise, row, In<P>{weight}, InOrZeros<P>{bias}, Out<T>{y});
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
template <class Team, class T, class P, class W = Accumulation<T>>
GPT2X_HD void add_layer_norm_backward_row(const Team& team, const T* dy, const T* dsum, const T* sum,
                                          const P* weight, W mean, W rstd, int64_t C, T* dx, W* dweight,
                                          W* dbias) {
  const In<T> upstream{dy}, row{sum};
  const In<P> gains{weight};
  const auto add_up = [=](T d, T stored, P gain, W& dgain, W& dshift) -> Two<W> {
    const W xhat = (to_accumulation(stored) - mean) * rstd;
    const W g = to_accumulation(d) * convert_to<W>(gain);
    dgain += to_accumulation(d) * xhat;
    dshift += to_accumulation(d);
    return {g, g * xhat};
  };
  const Two<W> totals =
      two_sums_each<W>(team, C, add_up, upstream, row, gains, InOut<W>{dweight}, InOut<W>{dbias});
  const W g_mean = team.sum(totals.first) / static_cast<W>(C);
  const W g_xhat_mean = team.sum(totals.second) / static_cast<W>(C);
  const auto pass_on = [=](T d, T stored, P gain, T d_stored, T& out) {
    const W xhat = (to_accumulation(stored) - mean) * rstd;
    const W g = to_accumulation(d) * convert_to<W>(gain);
    out = to_storage<T>(rstd * (g - g_mean - xhat * g_xhat_mean) + to_accumulation(d_stored));
  };
  each(team, C, pass_on, upstream, row, gains, InOrZeros<T>{dsum}, Out<T>{dx});
}

}  // namespace gpt2x::rows
