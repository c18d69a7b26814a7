// linear_cross_entropy on the CPU: torch's GEMM makes a chunk of logits, a row function turns it into loss
// and gradient in place, and two more GEMMs carry that gradient on. Never more than kRowsPerChunk rows of
// logits exist.
//
// Chunks are large on purpose: each one streams the whole weight (and its gradient) through the caches, so 64
// rows were measured slower than plain torch, while from 256 rows on the GEMM hides the stream. And a second
// chunk costs a wide total of the weight's gradient, for a 16-bit one more than 512 rows of logits take.
#include "../rows/linear_cross_entropy.h"

#include <torch/csrc/stable/library.h>

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

constexpr int64_t kRowsPerChunk = 1024;

template <class T, class W = rows::Wide<T>>
GPT2X_CLONES void loss_rows(int64_t begin, int64_t end, T* logits, int64_t V, int64_t Vp,
                            const int64_t* targets, int64_t ignore_index, double scale, bool write_gradient,
                            W* losses) {
  for (int64_t n = begin; n < end; ++n) {
    T* row = logits + n * Vp;
    if (targets[n] == ignore_index) {
      if (write_gradient) rows::clear_row(rows::Solo{}, row, Vp);
      losses[n] = 0;
    } else {
      losses[n] = rows::cross_entropy_row(rows::Solo{}, row, V, Vp, targets[n], static_cast<W>(scale),
                                          write_gradient);
    }
  }
}

// to[i] = from[i], or += it.
template <class To, class From>
GPT2X_CLONES void carry(const From* from, To* to, int64_t begin, int64_t end, bool add) {
  using W = rows::Wide<To>;
  if (add) {
    for (int64_t i = begin; i < end; ++i) {
      to[i] = rows::narrow<To>(rows::widen(to[i]) + rows::widen_to<W>(from[i]));
    }
  } else {
    for (int64_t i = begin; i < end; ++i) to[i] = rows::narrow<To>(rows::widen_to<W>(from[i]));
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
Tensor first_rows(Tensor matrix, int64_t start, int64_t length) {
  return torch::stable::narrow(matrix, 0, start, length);
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

// The weight's gradient over all chunks: kept wide while there is more than one of them.
class WeightGradient {
 public:
  WeightGradient(const Tensor& hidden, const Tensor& weight, int64_t num_chunks)
      : weight_(weight),
        direct_(num_chunks == 1 && weight.scalar_type() == hidden.scalar_type()),
        wide_(wide_dtype(hidden.scalar_type())) {}

  template <class T>
  void add(const Tensor& dlogits, const Tensor& hidden) {
    // A product that is wide already becomes the total, without a copy.
    product_ = multiply(transposed(dlogits), hidden, product_);
    if (direct_ || (!total_ && product_->scalar_type() == wide_)) {
      total_ = std::exchange(product_, std::nullopt);
      return;
    }
    const bool first = !total_;
    if (first) total_ = torch::stable::new_empty(weight_, weight_.sizes(), wide_);
    carry_all<rows::Wide<T>, T>(*product_, *total_, !first);
  }

  template <class T, class P>
  Tensor finish() {
    if (total_->scalar_type() == weight_.scalar_type()) return *total_;
    const bool fits = product_ && product_->scalar_type() == weight_.scalar_type();
    const Tensor rounded = fits ? *product_ : torch::stable::new_empty(weight_, weight_.sizes());
    carry_all<P, rows::Wide<T>>(*total_, rounded, false);
    return rounded;
  }

 private:
  Tensor weight_;
  bool direct_;
  ScalarType wide_;
  std::optional<Tensor> product_;  // of the chunk before; its memory serves again
  std::optional<Tensor> total_;
};

std::tuple<Tensor, Tensor, Tensor> linear_cross_entropy(const Tensor& hidden, const Tensor& weight,
                                                        const Tensor& targets, int64_t ignore_index,
                                                        int64_t vocab_size, bool need_dhidden,
                                                        bool need_dweight) {
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
  check_cpu("targets", targets);
  check_dtype("targets", targets, ScalarType::Long);
  check_shape("targets", targets, {N});
  const Tensor ids = dense(targets);
  const int64_t counted = check_targets(read<int64_t>(ids), N, vocab_size, ignore_index);

  const Tensor rows_in = dense(hidden);
  const ScalarType dtype = hidden.scalar_type();
  const Tensor matrix =
      weight.scalar_type() == dtype ? dense(weight) : torch::stable::to(dense(weight), dtype);
  const int64_t num_chunks = std::max<int64_t>(1, (N + kRowsPerChunk - 1) / kRowsPerChunk);
  const int64_t chunk_rows = (N + num_chunks - 1) / num_chunks;
  const bool training = need_dhidden || need_dweight;

  Tensor loss = torch::stable::new_empty(rows_in, std::vector<int64_t>{}, wide_dtype(dtype));
  Tensor dhidden = torch::stable::new_empty(rows_in, {need_dhidden ? N : 0, need_dhidden ? C : 0});
  Tensor dweight = torch::stable::new_empty(weight, {0, 0});
  std::optional<Tensor> logits;  // of the chunk before; their memory serves again
  with_storage("hidden", dtype, weight.scalar_type(), [&](auto activation, auto parameter) {
    using T = decltype(activation);
    using P = decltype(parameter);
    using W = rows::Wide<T>;
    std::vector<W> losses(static_cast<size_t>(N));
    std::optional<WeightGradient> gradient;
    if (need_dweight) gradient.emplace(rows_in, weight, num_chunks);
    for (int64_t start = 0; start < N || start == 0; start += std::max<int64_t>(1, chunk_rows)) {
      const int64_t length = std::min(chunk_rows, N - start);
      const Tensor chunk = first_rows(rows_in, start, length);
      if (logits && logits->size(0) != length) logits = first_rows(*logits, 0, length);
      logits = multiply(chunk, transposed(matrix), logits);
      const Tensor& chunk_logits = *logits;
      T* first = write<T>(chunk_logits);
      const int64_t* first_id = read<int64_t>(ids) + start;
      W* first_loss = losses.data() + start;
      parallel_for(0, length, grain_rows(Vp), [=](int64_t begin, int64_t end) {
        loss_rows(begin, end, first, vocab_size, Vp, first_id, ignore_index,
                  1.0 / static_cast<double>(counted), training, first_loss);
      });
      if (need_dhidden)
        place(multiply(chunk_logits, matrix, first_rows(dhidden, start, length)),
              first_rows(dhidden, start, length));
      if (need_dweight) gradient->template add<T>(chunk_logits, chunk);
    }
    double total = 0;
    for (const W row_loss : losses) total += static_cast<double>(row_loss);
    *write<W>(loss) = static_cast<W>(total / static_cast<double>(counted));
    if (need_dweight) dweight = gradient->template finish<T, P>();
  });
  return {loss, dhidden, dweight};
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("linear_cross_entropy", TORCH_BOX(&gpt2x::cpu::linear_cross_entropy));
}
