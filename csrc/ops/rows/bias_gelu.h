// One row of y = gelu(x + bias), tanh form, and of its gradient.
//
// 0.5 (1 + tanh z) is the logistic function of 2z, so with z = sqrt(2/pi) (u + 0.044715 u^3):
//   gelu(u)  = u s,                     s = 1 / (1 + e^(-2z))
//   gelu'(u) = s + u s (1 - s) 2 z'
// which needs one exponential and, unlike 1 + tanh z, does not cancel in the left tail.
#pragma once

#include "pack.h"

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

template <class Team, class T, class P, class W = Accumulation<T>>
GPT2X_HD void bias_gelu_row(const Team& team, const T* x, const P* bias, int64_t C, T* y) {
  if (bias != nullptr) {
    const auto activate = [](T u, P shift, T& out) {
      out = to_storage<T>(gelu(to_accumulation(u) + convert_to<W>(shift)));
    };
    each(team, C, activate, In<T>{x}, In<P>{bias}, Out<T>{y});
  } else {
    each(team, C, [](T u, T& out) { out = to_storage<T>(gelu(to_accumulation(u))); }, In<T>{x}, Out<T>{y});
  }
}

// dx = dy gelu'(x + bias), overwritten; dbias += dx, accumulated over the rows of one team, each lane its own
// columns.
template <class Team, class T, class P, class W = Accumulation<T>>
GPT2X_HD void bias_gelu_backward_row(const Team& team, const T* dy, const T* x, const P* bias, int64_t C,
                                     T* dx, W* dbias) {
  if (bias != nullptr) {
    const auto pass_on = [](T d, T u, P shift, T& out, W& dshift) {
      const W du = to_accumulation(d) * gelu_slope(to_accumulation(u) + convert_to<W>(shift));
      out = to_storage<T>(du);
      dshift += du;
    };
    each(team, C, pass_on, In<T>{dy}, In<T>{x}, In<P>{bias}, Out<T>{dx}, InOut<W>{dbias});
  } else {
    const auto pass_on = [](T d, T u, T& out) {
      out = to_storage<T>(to_accumulation(d) * gelu_slope(to_accumulation(u)));
    };
    each(team, C, pass_on, In<T>{dy}, In<T>{x}, Out<T>{dx});
  }
}

}  // namespace gpt2x::rows
