// One row of softmax cross-entropy over logits, whose gradient takes the logits' place.
#pragma once

#include "pack.h"

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
template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD W cross_entropy_row(const Team& team, T* logits, int64_t V, int64_t Vp, int64_t target,
                             const CrossEntropyTerms<W>& terms, W scale, bool write_gradient) {
  const In<T> row{logits};
  const W m = team.max(max_each<W>(team, V, [](T x) { return to_accumulation(x); }, row));
  const W total =
      team.sum(sum_each<W>(team, V, [=](T x) { return exponential(to_accumulation(x) - m); }, row));
  const W log_total = static_cast<W>(log(total));
  const W below_top = to_accumulation(logits[target]) - m;
  const W kept = W(1) - terms.label_smoothing;  // of the target's probability
  W loss = log_total - kept * below_top;        // everything relative to m, so that no large numbers cancel
  if (terms.label_smoothing > W(0)) {
    const W depth = team.sum(sum_each<W>(team, V, [=](T x) { return to_accumulation(x) - m; }, row));
    loss -= terms.label_smoothing * (depth / static_cast<W>(V));
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
  const auto differentiate = [=](T& x) {
    x = to_storage<T>(exponential(to_accumulation(x) - m) * inverse * pulled_scale - spread_scale);
  };
  each(team, V, differentiate, InOut<T>{logits});
  team.sync();  // one lane has written logits[target]
  if (team.lane() == 0) {
    logits[target] = to_storage<T>((exponential(below_top) * inverse * pull - kept - spread) * scale);
  }
  for (int64_t i = V + team.lane(); i < Vp; i += team.stride()) logits[i] = to_storage<T>(W(0));
  return loss;
}

// A row that does not count: no loss, no gradient.
template <class Team, class T>
GPT2X_HD void clear_row(const Team& team, T* logits, int64_t Vp) {
  each(team, Vp, [](T& x) { x = T{}; }, Out<T>{logits});
}

}  // namespace gpt2x::rows
