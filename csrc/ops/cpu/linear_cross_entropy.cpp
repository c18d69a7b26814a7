// linear_cross_entropy on the CPU: torch's GEMM makes a chunk of logits, a row function turns it into loss
// and gradient in place, and two more GEMMs carry that gradient on. Never more than kRowsPerChunk rows of
// logits exist.
//
// Chunks are large on purpose: each one streams the whole weight (and its gradient) through the caches, so 64
// rows were measured slower than plain torch, while from 256 rows on the GEMM hides the stream. Beyond 512
// rows nothing is gained (bfloat16, 1024 rows of GPT-2's vocabulary: 695 ms of one Zen 5 core in two chunks,
// 702 in one), and in a training step the moment of the loss is that of the most memory.
#include "../rows/linear_cross_entropy.h"

#include <torch/csrc/stable/library.h>

#include <cmath>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "../checks.h"
#include "clones.h"
#include "gemm.h"
#include "row_blocks.h"

namespace gpt2x::cpu {
namespace {

constexpr int64_t kRowsPerChunk = 512;
constexpr int64_t kColumnsPerSlice = 4096;

// As in ATen.
enum Reduction : int64_t { kNone = 0, kMean = 1, kSum = 2 };

// `row_scale`, where there is one, stands for `scale`: one number a row.
template <class T, class W = rows::Accumulation<T>>
GPT2X_CLONES void loss_rows(int64_t begin, int64_t end, T* logits, int64_t V, int64_t Vp,
                            const int64_t* targets, int64_t ignore_index, rows::CrossEntropyTerms<W> terms,
                            W scale, const W* row_scale, bool write_gradient, W* losses) {
  for (int64_t n = begin; n < end; ++n) {
    T* row = logits + n * Vp;
    if (targets[n] == ignore_index) {
      if (write_gradient) rows::clear_row(rows::SingleThread{}, row, Vp);
      losses[n] = 0;
    } else {
      losses[n] = rows::cross_entropy_row(rows::SingleThread{}, row, V, Vp, targets[n], terms,
                                          row_scale != nullptr ? row_scale[n] : scale, write_gradient);
    }
  }
}

// to[i] = from[i], or += it.
template <class To, class From>
GPT2X_CLONES void carry(const From* from, To* to, int64_t begin, int64_t end, bool add) {
  using W = rows::Accumulation<To>;
  if (add) {
    for (int64_t i = begin; i < end; ++i) {
      to[i] = rows::to_storage<To>(rows::to_accumulation(to[i]) + rows::convert_to<W>(from[i]));
    }
  } else {
    for (int64_t i = begin; i < end; ++i) to[i] = rows::to_storage<To>(rows::convert_to<W>(from[i]));
  }
}

template <class To, class From>
void carry_all(const Tensor& from, const Tensor& to, bool add) {
  const From* source = read<From>(from);
  To* sink = write<To>(to);
  parallel_for(0, to.numel(), kGrainElements,
               [=](int64_t begin, int64_t end) { carry(source, sink, begin, end, add); });
}

// `narrow` that takes its tensor by const reference.
Tensor part(Tensor matrix, int64_t dim, int64_t start, int64_t length) {
  return torch::stable::narrow(matrix, dim, start, length);
}

// Puts a product where it belongs, if the library has not written it there.
void place(const Tensor& product, Tensor where) {
  if (product.const_data_ptr() != where.const_data_ptr()) torch::stable::copy_(where, product);
}

// Number of rows that count.
int64_t check_targets(const int64_t* targets, int64_t N, int64_t V, int64_t ignore_index) {
  int64_t counted = 0;
  for (int64_t n = 0; n < N; ++n) {
    if (targets[n] == ignore_index) continue;
    if (targets[n] < 0 || targets[n] >= V) {
      std::ostringstream message;
      message << "targets: expected ids in 0.." << V - 1 << " or ignore_index " << ignore_index << ", got "
              << targets[n] << " at row " << n;
      throw std::out_of_range(message.str());
    }
    ++counted;
  }
  return counted;
}

// The weight's gradient, dlogits^T @ hidden summed over all chunks.
//
// Where the matrix product can add to what is there, it does, with no other memory than the result. A 16-bit
// result may be rounded twice that way and no more: with more chunks, or a float32 weight beside bfloat16,
// there is a float32 total to which products are added, a slice of the vocabulary at a time. oneDNN's float32
// products come in slices too, since it would copy all of dlogits to transpose them.
class WeightGradient {
 public:
  WeightGradient(const Tensor& hidden, const Tensor& weight, int64_t num_chunks) : weight_(weight) {
    const ScalarType dtype = hidden.scalar_type(), accumulation = accumulation_dtype(dtype);
    const bool rounds_seldom = dtype == accumulation || num_chunks <= 2;
    in_place_ = weight.scalar_type() == dtype && rounds_seldom && !onednn_takes(dtype);
    total_ = torch::stable::new_empty(weight, weight.sizes(), in_place_ ? dtype : accumulation);
  }

  template <class T>
  void add(const Tensor& dlogits, const Tensor& hidden) {
    if (!in_place_) {
      add_slices<T>(dlogits, hidden);
    } else if (empty_) {
      multiply(transposed(dlogits), hidden, *total_);
    } else {
      add_product(transposed(dlogits), hidden, *total_);
    }
    empty_ = false;
  }

  template <class T, class P>
  Tensor finish() {
    if (total_->scalar_type() == weight_.scalar_type()) return *total_;
    const Tensor rounded = torch::stable::new_empty(weight_, weight_.sizes());
    carry_all<P, rows::Accumulation<T>>(*total_, rounded, false);
    return rounded;
  }

 private:
  template <class T>
  void add_slices(const Tensor& dlogits, const Tensor& hidden) {
    const int64_t Vp = total_->size(0);
    std::optional<Tensor> product;  // of the slice before; its memory serves again
    for (int64_t start = 0; start < Vp; start += kColumnsPerSlice) {
      const int64_t length = std::min(kColumnsPerSlice, Vp - start);
      if (product && product->size(0) != length) product = part(*product, 0, 0, length);
      product = multiply(transposed(part(dlogits, 1, start, length)), hidden, std::move(product));
      carry_all<rows::Accumulation<T>, T>(*product, part(*total_, 0, start, length), !empty_);
    }
  }

  Tensor weight_;
  bool in_place_, empty_ = true;
  std::optional<Tensor> total_;
};

std::tuple<Tensor, Tensor, Tensor> linear_cross_entropy(const Tensor& hidden, const Tensor& weight,
                                                        const Tensor& targets,
                                                        std::optional<Tensor> row_scale, int64_t reduction,
                                                        int64_t ignore_index, int64_t vocab_size,
                                                        double label_smoothing, double z_loss,
                                                        bool need_dhidden, bool need_dweight) {
  check_cpu("hidden", hidden);
  if (hidden.dim() != 2 || hidden.size(1) < 1)
    refuse("hidden: expected (N, C) with C > 0, got ", shape_of(hidden));
  const int64_t N = hidden.size(0), C = hidden.size(1);
  check_cpu("weight", weight);
  if (weight.dim() != 2 || weight.size(0) < 1)
    refuse("weight: expected (Vp, ", C, "), got ", shape_of(weight));
  const int64_t Vp = weight.size(0);
  check_shape("weight", weight, {Vp, C});
  check_parameter_dtype("weight", weight, hidden.scalar_type());
  if (vocab_size < 1 || vocab_size > Vp) refuse("vocab_size: expected 1..", Vp, ", got ", vocab_size);
  if (!(label_smoothing >= 0 && label_smoothing < 1))
    refuse("label_smoothing: expected a number in [0, 1), got ", label_smoothing);
  if (!(z_loss >= 0 && std::isfinite(z_loss)))
    refuse("z_loss: expected a finite number from 0 on, got ", z_loss);
  check_cpu("targets", targets);
  check_dtype("targets", targets, ScalarType::Long);
  check_shape("targets", targets, {N});
  if (reduction < kNone || reduction > kSum)
    refuse("reduction: expected 0 (none), 1 (mean) or 2 (sum), got ", reduction);
  const ScalarType accumulation = accumulation_dtype(hidden.scalar_type());
  if (row_scale) {
    check_cpu("row_scale", *row_scale);
    check_dtype("row_scale", *row_scale, accumulation);
    check_shape("row_scale", *row_scale, {N});
  }
  const std::optional<Tensor> scales = dense(row_scale);
  const Tensor ids = dense(targets);
  const int64_t counted = check_targets(read<int64_t>(ids), N, vocab_size, ignore_index);

  const Tensor rows_in = dense(hidden);
  const ScalarType dtype = hidden.scalar_type();
  const Tensor matrix =
      weight.scalar_type() == dtype ? dense(weight) : torch::stable::to(dense(weight), dtype);
  const int64_t num_chunks = std::max<int64_t>(1, (N + kRowsPerChunk - 1) / kRowsPerChunk);
  const int64_t chunk_rows = (N + num_chunks - 1) / num_chunks;
  const bool training = need_dhidden || need_dweight;

  const bool each_row = reduction == kNone;
  Tensor losses = torch::stable::new_empty(rows_in, {N}, accumulation);
  Tensor loss = each_row ? losses : torch::stable::new_empty(rows_in, std::vector<int64_t>{}, accumulation);
  Tensor dhidden = torch::stable::new_empty(rows_in, {need_dhidden ? N : 0, need_dhidden ? C : 0});
  Tensor dweight = torch::stable::new_empty(weight, {0, 0});
  std::optional<Tensor> logits;  // of the chunk before; their memory serves again
  with_storage("hidden", dtype, weight.scalar_type(), [&](auto activation, auto parameter) {
    using T = decltype(activation);
    using P = decltype(parameter);
    using W = rows::Accumulation<T>;
    const rows::CrossEntropyTerms<W> terms{static_cast<W>(label_smoothing), static_cast<W>(z_loss)};
    const double divisor = reduction == kMean ? static_cast<double>(counted) : 1.0;
    const W scale = static_cast<W>(1.0 / divisor);
    W* row_losses = write<W>(losses);
    std::optional<WeightGradient> gradient;
    if (need_dweight) gradient.emplace(rows_in, weight, num_chunks);
    for (int64_t start = 0; start < N || start == 0; start += std::max<int64_t>(1, chunk_rows)) {
      const int64_t length = std::min(chunk_rows, N - start);
      const Tensor chunk = part(rows_in, 0, start, length);
      if (logits && logits->size(0) != length) logits = part(*logits, 0, 0, length);
      logits = multiply(chunk, transposed(matrix), std::move(logits));
      const Tensor& chunk_logits = *logits;
      T* first = write<T>(chunk_logits);
      const int64_t* first_id = read<int64_t>(ids) + start;
      W* first_loss = row_losses + start;
      const W* first_scale = scales ? read<W>(*scales) + start : nullptr;
      parallel_for(0, length, grain_rows(Vp), [=](int64_t begin, int64_t end) {
        loss_rows(begin, end, first, vocab_size, Vp, first_id, ignore_index, terms, scale, first_scale,
                  training, first_loss);
      });
      if (need_dhidden)
        place(multiply(chunk_logits, matrix, part(dhidden, 0, start, length)),
              part(dhidden, 0, start, length));
      if (need_dweight) gradient->template add<T>(chunk_logits, chunk);
    }
    if (!each_row) {
      double total = 0;
      for (int64_t n = 0; n < N; ++n) total += static_cast<double>(row_losses[n]);
      *write<W>(loss) = static_cast<W>(total / divisor);
    }
    if (need_dweight) dweight = gradient->template finish<T, P>();
  });
  return {loss, dhidden, dweight};
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("linear_cross_entropy", TORCH_BOX(&gpt2x::cpu::linear_cross_entropy));
}
