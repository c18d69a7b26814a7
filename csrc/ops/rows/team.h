// A team works on one row together: member `lane()` takes the elements lane, lane + stride, lane + 2 stride,
// …, or as many packs of `kPack` neighbouring elements (pack.h).
//
// On the CPU a team is one thread (SingleThread) and the loops vectorise; on a GPU it is a block
// (cuda/team.cuh) and neighbouring lanes touch neighbouring addresses. A row function is written once, over
// whichever team it is given:
//
//   partial = sum_each<W>(team, n, [](T element) { return to_accumulation(element); }, In<T>{x});
//   total = team.sum(partial);   // every lane receives it
#pragma once

#include "scalar.h"

namespace gpt2x::rows {

struct SingleThread {
  static constexpr int kPack = 1;
  GPT2X_HD static constexpr int64_t lane() { return 0; }
  GPT2X_HD static constexpr int64_t stride() { return 1; }
  template <class W>
  GPT2X_HD W sum(W partial) const {
    return partial;
  }
  template <class W>
  GPT2X_HD W max(W partial) const {
    return partial;
  }
  // After it, what every lane read before is safe to overwrite.
  GPT2X_HD void sync() const {}
};

}  // namespace gpt2x::rows
