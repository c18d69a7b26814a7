#include <cstdio>

#include "gpt2x/bpe/piece_counter.hpp"
#include "gpt2x/bpe/trainer.hpp"

int main() {
  gpt2x::bpe::PieceCounter pieces(gpt2x::bpe::Pattern::kGpt2);
  pieces.add("la la la");
  gpt2x::bpe::MergeLearner learner(pieces);
  const auto merge = learner.next();
  std::printf("%zu distinct pieces\n", pieces.num_unique());
  return merge && merge->count == 3 ? 0 : 1;
}
