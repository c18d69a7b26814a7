// One row of softmax cross-entropy over logits, whose gradient takes the logits' place.
#pragma once

#include "team.h"

namespace gpt2x::rows {

// What is added to the plain loss; both 0 leave it bit for bit as it is.
template <class W>
struct CrossEntropyTerms {
  W label_smoothing;  // share of the target's probability that is spread evenly over all V classes, in [0, 1)
  W z_loss;           // factor of (log Z)^2, Z = sum_j e^(x_j), which keeps logits from drifting
};

// Loss of one row over the first V of Vp columns. With log Z = m + log(sum_j e^(x_j - m)), m = max_j x_j:
//
//   loss = log Z - (1 - s) x_target - s mean(x) + z (log Z)^2
//
// s is the label smoothing of Szegedy et al. 2016 (section 7), z the auxiliary loss of PaLM (Chowdhery et al.
// 2022, section 5). With `write_gradient` the logits become
//
//   (softmax * (1 + 2 z log Z) - (1 - s) onehot(target) - s / V) * scale
//
// and 0 in the padding from V on. The target must lie in [0, V).
//
// Three passes over the row: maximum, sum of exponentials, gradient (and one more with smoothing). A row of
// 50304 floats stays in a core's L2 between them, so memory sees one read and one write.
template <class Team, class T, class W = Wide<T>>
GPT2X_HD W cross_entropy_row(const Team& team, T* logits, int64_t V, int64_t Vp, int64_t target,
                             const CrossEntropyTerms<W>& terms, W scale, bool write_gradient) {
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
  const W log_total = static_cast<W>(log(total));
  const W below_top = widen(logits[target]) - m;
  const W kept = W(1) - terms.label_smoothing;  // of the target's probability
  W loss = log_total - kept * below_top;        // everything relative to m, so that no large numbers cancel
  if (terms.label_smoothing > W(0)) {
    W depth = 0;
    GPT2X_SIMD_SUM(depth)
    for (int64_t i = team.lane(); i < V; i += team.stride()) depth += widen(logits[i]) - m;
    loss -= terms.label_smoothing * (team.sum(depth) / static_cast<W>(V));
  }
  W pull = 1;  // what the z-loss makes of every probability in the gradient
  if (terms.z_loss > W(0)) {
    const W log_z = m + log_total;
    loss += terms.z_loss * log_z * log_z;
    pull += W(2) * terms.z_loss * log_z;
  }
  if (!write_gradient) return loss;

  team.sync();  // every lane has read logits[target]
  const W inverse = W(1) / total;
  const W pulled_scale = pull * scale;
  const W spread = terms.label_smoothing / static_cast<W>(V);  // the probability that smoothing gives to each
  const W spread_scale = spread * scale;
  GPT2X_SIMD
  for (int64_t i = team.lane(); i < V; i += team.stride()) {
    logits[i] = narrow<T>(exponential(widen(logits[i]) - m) * inverse * pulled_scale - spread_scale);
  }
  if (target % team.stride() == team.lane()) {
    logits[target] = narrow<T>((exponential(below_top) * inverse * pull - kept - spread) * scale);
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
