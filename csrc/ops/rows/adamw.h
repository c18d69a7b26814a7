// AdamW on a span of elements (Loshchilov and Hutter 2019, algorithm 2): decoupled decay, clip factor folded
// in.
#pragma once

#include "pack.h"

namespace gpt2x::rows {

// What all elements of a step share, prepared once in double. 1 - beta is too: in float, 1 - 0.99999f is off
// by 1e-3 of itself, since the subtraction leaves only the last bits of beta.
template <class W>
struct AdamwStep {
  W beta1, beta2, eps;
  W rest1, rest2;             // 1 - beta1, 1 - beta2
  W step_size;                // lr / (1 - beta1^step)
  W inverse_root_correction;  // 1 / sqrt(1 - beta2^step)
};

// `count` is 1 in the first step.
GPT2X_HD AdamwStep<double> adamw_step(double count, double lr, double beta1, double beta2, double eps) {
  return {beta1,
          beta2,
          eps,
          1.0 - beta1,
          1.0 - beta2,
          lr / (1.0 - pow(beta1, count)),
          1.0 / sqrt(1.0 - pow(beta2, count))};
}

template <class W>
GPT2X_HD AdamwStep<W> cast_step(const AdamwStep<double>& step) {
  return {static_cast<W>(step.beta1),
          static_cast<W>(step.beta2),
          static_cast<W>(step.eps),
          static_cast<W>(step.rest1),
          static_cast<W>(step.rest2),
          static_cast<W>(step.step_size),
          static_cast<W>(step.inverse_root_correction)};
}

// min(1, max_norm / (norm + 1e-6)), as torch's clip_grad_norm_; a NaN norm gives NaN. max_norm <= 0 means no
// clipping.
template <class W>
GPT2X_HD W clip_factor(W norm, W max_norm) {
  if (!(max_norm > W(0))) return W(1);
  const W factor = max_norm / (norm + W(1e-6));
  return factor > W(1) ? W(1) : factor;
}

// A negative norm, which no gradient has, refuses the step: nothing is changed. So a decision that is made on
// the device needs no wait of the host.
template <class W>
GPT2X_HD bool is_refused(W norm) {
  return norm < W(0);
}

// P stores parameters, G gradients, S the moments. `shrink` is 1 - lr * weight_decay, `clip` multiplies
// gradients. With kBf16Param every new parameter is also written, rounded, to `bf16_param`, the copy that the
// next step computes with.
template <bool kBf16Param, class Team, class P, class G, class S, class W = Accumulation<P>>
GPT2X_HD void adamw_span(const Team& team, P* param, const G* grad, S* exp_avg, S* exp_avg_sq,
                         bfloat16* bf16_param, int64_t n, const AdamwStep<W>& step, W shrink, W clip) {
  const auto update = [=](P& parameter, G gradient, S& exp_avg, S& exp_avg_sq) {
    const W g = convert_to<W>(gradient) * clip;
    const W m = step.beta1 * convert_to<W>(exp_avg) + step.rest1 * g;
    const W v = step.beta2 * convert_to<W>(exp_avg_sq) + step.rest2 * g * g;
    const W denominator = static_cast<W>(sqrt(v)) * step.inverse_root_correction + step.eps;
    const W p = to_accumulation(parameter) * shrink - step.step_size * m / denominator;
    parameter = to_storage<P>(p);
    exp_avg = to_storage<S>(m);
    exp_avg_sq = to_storage<S>(v);
    return p;
  };
  const InOut<P> params{param};
  const In<G> grads{grad};
  const InOut<S> exp_avgs{exp_avg}, exp_avg_sqs{exp_avg_sq};
  if constexpr (kBf16Param) {
    const auto update_both = [=](P& parameter, G gradient, S& exp_avg, S& exp_avg_sq, bfloat16& copy) {
      copy = to_storage<bfloat16>(static_cast<float>(update(parameter, gradient, exp_avg, exp_avg_sq)));
    };
    each(team, n, update_both, params, grads, exp_avgs, exp_avg_sqs, Out<bfloat16>{bf16_param});
  } else {
    each(team, n, update, params, grads, exp_avgs, exp_avg_sqs);
  }
}

}  // namespace gpt2x::rows
