// One row of y = f(x + bias), and of its gradient, for an activation f: a type with `value(u)` and `slope(u)`
// (bias_gelu.h, bias_relu2.h).
#pragma once

#include "pack.h"

namespace gpt2x::rows {

template <class F, class Team, class T, class P, class W = Accumulation<T>>
GPT2X_HD void bias_activation_row(const Team& team, const T* x, const P* bias, int64_t C, T* y) {
  if (bias != nullptr) {
    const auto activate = [](T u, P shift, T& out) {
      out = to_storage<T>(F::value(to_accumulation(u) + convert_to<W>(shift)));
    };
    each(team, C, activate, In<T>{x}, In<P>{bias}, Out<T>{y});
  } else {
    const auto activate = [](T u, T& out) { out = to_storage<T>(F::value(to_accumulation(u))); };
    each(team, C, activate, In<T>{x}, Out<T>{y});
  }
}

// dx = dy f'(x + bias), overwritten; dbias += dx, accumulated over the rows of one team, each lane its own
// columns.
template <class F, class Team, class T, class P, class W = Accumulation<T>>
GPT2X_HD void bias_activation_backward_row(const Team& team, const T* dy, const T* x, const P* bias,
                                           int64_t C, T* dx, W* dbias) {
  if (bias != nullptr) {
    const auto pass_on = [](T d, T u, P shift, T& out, W& dshift) {
      const W du = to_accumulation(d) * F::slope(to_accumulation(u) + convert_to<W>(shift));
      out = to_storage<T>(du);
      dshift += du;
    };
    each(team, C, pass_on, In<T>{dy}, In<T>{x}, In<P>{bias}, Out<T>{dx}, InOut<W>{dbias});
  } else {
    const auto pass_on = [](T d, T u, T& out) {
      out = to_storage<T>(to_accumulation(d) * F::slope(to_accumulation(u)));
    };
    each(team, C, pass_on, In<T>{dy}, In<T>{x}, Out<T>{dx});
  }
}

}  // namespace gpt2x::rows
