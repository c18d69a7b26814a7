// How rows are spread over threads where their contributions to a parameter's gradient must be added up.
//
// Rows are cut into blocks whose number depends on N alone, and these into runs; each run is summed in the
// accumulation dtype and added to its block's float64 total, and the totals are added in the order of the
// blocks. So a gradient is the same whatever the number of threads, and as exact over a million rows as over
// 64: one running float32 sum over 1e6 equal rows is off by 1e-4.
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

// Rows whose contributions are added before the sum is set aside.
constexpr int64_t kRunRows = 64;

// Threads are worth waking for about this many elements of work each.
constexpr int64_t kGrainElements = 16384;

inline int64_t grain_rows(int64_t columns) {
  return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, columns));
}

template <class W>
GPT2X_HD void add_run(const W* run, int64_t width, double* total) {
  GPT2X_SIMD
  for (int64_t i = 0; i < width; ++i) total[i] += static_cast<double>(run[i]);
}

// out[i] = totals[0][i] + totals[1][i] + …, over `count` rows of totals that stand `stride` apart; a few
// columns at a time, since those of one column alone may all fall on one set of the first cache.
template <class P>
GPT2X_CLONES void add_totals(const double* totals, int64_t count, int64_t stride, int64_t begin, int64_t end,
                             P* out) {
  constexpr int64_t kColumns = 64;
  for (int64_t first = begin; first < end; first += kColumns) {
    const int64_t columns = std::min(kColumns, end - first);
    double sums[kColumns] = {};
    for (int64_t block = 0; block < count; ++block) add_run(totals + block * stride + first, columns, sums);
    for (int64_t i = 0; i < columns; ++i)
      out[first + i] = rows::to_storage<P>(static_cast<rows::Accumulation<P>>(sums[i]));
  }
}

// The sums over all N rows of `width` numbers that each row adds to, in W.
template <class W>
class RowSums {
 public:
  RowSums(int64_t num_rows, int64_t width)
      : blocks_(num_rows), width_(width), totals_(new double[static_cast<size_t>(blocks_.count() * width)]) {}

  // add_rows(begin, end, run) adds what those rows contribute to the `width` numbers of `run`.
  template <class F>
  void add(const F& add_rows) {
    parallel_for(0, blocks_.count(), 1, [&](int64_t first, int64_t last) {
      const std::unique_ptr<W[]> run(new W[static_cast<size_t>(width_)]);
      for (int64_t block = first; block < last; ++block) add_block(block, add_rows, run.get());
    });
  }

  // out[i] = the sum over all rows of number offset + i.
  template <class P>
  void sum(int64_t offset, int64_t C, P* out) const {
    const double* first = totals_.get() + offset;
    const int64_t count = blocks_.count(), width = width_;
    parallel_for(0, C, grain_rows(count),
                 [=](int64_t begin, int64_t end) { add_totals(first, count, width, begin, end, out); });
  }

 private:
  template <class F>
  void add_block(int64_t block, const F& add_rows, W* run) {
    double* total = totals_.get() + block * width_;
    const int64_t first = blocks_.begin(block), end = blocks_.end(block);
    for (int64_t begin = first; begin < end; begin += kRunRows) {
      std::fill_n(run, width_, W(0));
      add_rows(begin, std::min(begin + kRunRows, end), run);
      if (begin == first) {
        std::copy_n(run, width_, total);
      } else {
        add_run(run, width_, total);
      }
    }
  }

  RowBlocks blocks_;
  int64_t width_;
  std::unique_ptr<double[]> totals_;
};

}  // namespace gpt2x::cpu
