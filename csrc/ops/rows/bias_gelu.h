// One row of y = gelu(x + bias), tanh form, and of its gradient.
//
// 0.5 (1 + tanh z) is the logistic function of 2z, so with z = sqrt(2/pi) (u + 0.044715 u^3):
//   gelu(u)  = u s,                     s = 1 / (1 + e^(-2z))
//   gelu'(u) = s + u s (1 - s) 2 z'
// which needs one exponential and, unlike 1 + tanh z, does not cancel in the left tail.
#pragma once

#include "team.h"

namespace gpt2x::rows {

template <class W>
GPT2X_HD W gelu_gate(W u) {
  constexpr W kTwice = W(2 * 0.79788456080286535588);  // 2 sqrt(2/pi)
  return W(1) / (W(1) + exponential(-kTwice * (u + W(0.044715) * u * u * u)));
}

template <class W>
GPT2X_HD W gelu(W u) {
  return u * gelu_gate(u);
}

template <class W>
GPT2X_HD W gelu_slope(W u) {
  constexpr W kTwice = W(2 * 0.79788456080286535588);
  const W gate = gelu_gate(u);
  const W steep = gate * (W(1) - gate);
  // Where the gate is closed or open the second term is 0, also where u^2 overflows.
  const W bend = steep > W(0) ? u * steep * kTwice * (W(1) + W(3 * 0.044715) * u * u) : W(0);
  return gate + bend;
}

template <class Team, class T, class P, class W = Wide<T>>
GPT2X_HD void bias_gelu_row(const Team& team, const T* x, const P* bias, int64_t C, T* y) {
  if (bias != nullptr) {
    GPT2X_SIMD
    for (int64_t i = team.lane(); i < C; i += team.stride()) {
      y[i] = narrow<T>(gelu(widen(x[i]) + widen_to<W>(bias[i])));
    }
  } else {
    GPT2X_SIMD
    for (int64_t i = team.lane(); i < C; i += team.stride()) y[i] = narrow<T>(gelu(widen(x[i])));
  }
}

// dx = dy gelu'(x + bias), overwritten; dbias += dx, accumulated over the rows of one team, each lane its own
// columns.
template <class Team, class T, class P, class W = Wide<T>>
GPT2X_HD void bias_gelu_backward_row(const Team& team, const T* dy, const T* x, const P* bias, int64_t C,
                                     T* dx, W* dbias) {
  if (bias != nullptr) {
    GPT2X_SIMD
    for (int64_t i = team.lane(); i < C; i += team.stride()) {
      const W d = widen(dy[i]) * gelu_slope(widen(x[i]) + widen_to<W>(bias[i]));
      dx[i] = narrow<T>(d);
      dbias[i] += d;
    }
  } else {
    GPT2X_SIMD
    for (int64_t i = team.lane(); i < C; i += team.stride()) {
      dx[i] = narrow<T>(widen(dy[i]) * gelu_slope(widen(x[i])));
    }
  }
}

}  // namespace gpt2x::rows
