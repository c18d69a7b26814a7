// ReLU², max(0, u)², and its slope 2 max(0, u); a row of it is bias_activation.h's.
#pragma once

#include "bias_activation.h"

namespace gpt2x::rows {

struct Relu2 {
  template <class W>
  GPT2X_HD static W positive(W u) {
    return u < W(0) ? W(0) : u;  // this way round a NaN stays one
  }

  template <class W>
  GPT2X_HD static W value(W u) {
    return positive(u) * positive(u);
  }

  template <class W>
  GPT2X_HD static W slope(W u) {
    return W(2) * positive(u);
  }
};

}  // namespace gpt2x::rows
