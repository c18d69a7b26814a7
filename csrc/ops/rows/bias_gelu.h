// GELU, tanh form, and its slope; a row of it is bias_activation.h's.
//
// 0.5 (1 + tanh z) is the logistic function of 2z, so with z = sqrt(2/pi) (u + 0.044715 u^3):
//   gelu(u)  = u s,                     s = 1 / (1 + e^(-2z))
//   gelu'(u) = s + u s (1 - s) 2 z'
// which needs one exponential and, unlike 1 + tanh z, does not cancel in the left tail.
#pragma once

#include "bias_activation.h"

namespace gpt2x::rows {

struct Gelu {
  template <class W>
  GPT2X_HD static W gate(W u) {
    constexpr W kTwice = W(2 * 0.79788456080286535588);  // 2 sqrt(2/pi)
    return W(1) / (W(1) + exponential(-kTwice * (u + W(0.044715) * u * u * u)));
  }

  template <class W>
  GPT2X_HD static W value(W u) {
    return u * gate(u);
  }

  template <class W>
  GPT2X_HD static W slope(W u) {
    constexpr W kTwice = W(2 * 0.79788456080286535588);
    const W open = gate(u);
    const W steep = open * (W(1) - open);
    // Where the gate is closed or open the second term is 0, also where u^2 overflows.
    const W bend = steep > W(0) ? u * steep * kTwice * (W(1) + W(3 * 0.044715) * u * u) : W(0);
    return open + bend;
  }
};

}  // namespace gpt2x::rows
