// How rows are spread over threads where their contributions to a parameter's gradient must be added up.
//
// Rows are cut into blocks whose number depends on N alone; each block has its own partial sums, and these
// are added in the order of the blocks. So a gradient is the same whatever the number of threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <memory>

#include "../rows/scalar.h"
#include "clones.h"

namespace gpt2x::cpu {

using torch::stable::parallel_for;

struct RowBlocks {
  explicit RowBlocks(int64_t num_rows)
      : rows(num_rows), rows_per_block(std::max<int64_t>(16, (num_rows + 63) / 64)) {}
  int64_t count() const { return (rows + rows_per_block - 1) / rows_per_block; }
  int64_t begin(int64_t block) const { return block * rows_per_block; }
  int64_t end(int64_t block) const { return std::min(rows, (block + 1) * rows_per_block); }

  int64_t rows;
  int64_t rows_per_block;
};

// Threads are worth waking for about this many elements of work each.
constexpr int64_t kGrainElements = 16384;

inline int64_t grain_rows(int64_t columns) {
  return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, columns));
}

// out[i] = partials[0][i] + partials[1][i] + …, over `count` rows of C partial sums that stand `stride`
// apart.
template <class P, class W>
GPT2X_CLONES void add_partials(const W* partials, int64_t count, int64_t stride, int64_t begin, int64_t end,
                               P* out) {
  for (int64_t i = begin; i < end; ++i) {
    W total = 0;
    for (int64_t block = 0; block < count; ++block) total += partials[block * stride + i];
    out[i] = rows::to_storage<P>(static_cast<rows::Accumulation<P>>(total));
  }
}

// Partial sums of every block, `width` of them each. Zeroed by the thread that will add to them.
template <class W>
class Partials {
 public:
  Partials(int64_t num_blocks, int64_t width)
      : count_(num_blocks), width_(width), data_(new W[static_cast<size_t>(num_blocks * width)]) {}

  W* zeroed(int64_t block) { return std::fill_n(data_.get() + block * width_, width_, W(0)) - width_; }

  // out[i] = the sum over all blocks of element offset + i.
  template <class P>
  void sum(int64_t offset, int64_t C, P* out) const {
    const W* first = data_.get() + offset;
    const int64_t count = count_, width = width_;
    parallel_for(0, C, grain_rows(count),
                 [=](int64_t begin, int64_t end) { add_partials(first, count, width, begin, end, out); });
  }

 private:
  int64_t count_, width_;
  std::unique_ptr<W[]> data_;
};

}  // namespace gpt2x::cpu
