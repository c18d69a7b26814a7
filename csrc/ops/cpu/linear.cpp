// linear on the CPU: the products go to whichever library is faster on this processor (gemm.h); the bias's
// gradient is one read of dy, added up in a fixed order.
#include "../rows/linear.h"

#include <torch/csrc/stable/library.h>

#include <tuple>
#include <vector>

#include "../checks.h"
#include "clones.h"
#include "gemm.h"
#include "row_blocks.h"

namespace gpt2x::cpu {
namespace {

template <class T, class W = rows::Accumulation<T>>
GPT2X_CLONES void bias_rows(int64_t begin, int64_t end, const T* dy, int64_t C, W* dbias) {
  for (int64_t n = begin; n < end; ++n) {
    rows::linear_bias_backward_row(rows::SingleThread{}, dy + n * C, C, dbias);
  }
}

void check_matrices(const Tensor& x, const Tensor& weight) {
  check_cpu("x", x);
  if (x.dim() != 2) refuse("x: expected (N, I), got ", shape_of(x));
  with_storage("x", x.scalar_type(), [](auto) {});
  check_cpu("weight", weight);
  check_dtype("weight", weight, x.scalar_type());
  if (weight.dim() != 2 || weight.size(1) != x.size(1))
    refuse("weight: expected (O, ", x.size(1), "), got ", shape_of(weight));
}

Tensor linear(const Tensor& x, const Tensor& weight, std::optional<Tensor> bias) {
  check_matrices(x, weight);
  if (bias) {
    check_cpu("bias", *bias);
    check_dtype("bias", *bias, x.scalar_type());
    check_shape("bias", *bias, {weight.size(0)});
  }
  return multiply_and_add(x, weight, bias);
}

Tensor bias_gradient(const Tensor& dy) {
  const int64_t N = dy.size(0), C = dy.size(1);
  Tensor dbias = torch::stable::new_empty(dy, {C});
  with_storage("dy", dy.scalar_type(), [&](auto value) {
    using T = decltype(value);
    RowSums<rows::Accumulation<T>> sums(N, C);
    const T* from = read<T>(dy);
    sums.add([=](int64_t begin, int64_t end, auto* dbias) { bias_rows(begin, end, from, C, dbias); });
    sums.sum(0, C, write<T>(dbias));
  });
  return dbias;
}

std::tuple<Tensor, Tensor, Tensor> linear_backward(const Tensor& dy, const Tensor& x, const Tensor& weight,
                                                   bool need_dx, bool need_dweight, bool need_dbias) {
  check_matrices(x, weight);
  check_cpu("dy", dy);
  check_dtype("dy", dy, x.scalar_type());
  check_shape("dy", dy, {x.size(0), weight.size(0)});
  const Tensor upstream = dense(dy);
  const Tensor none = torch::stable::new_empty(x, {0});
  return {need_dx ? multiply(upstream, weight) : none,
          need_dweight ? multiply(transposed(upstream), x) : torch::stable::new_empty(x, {0}),
          need_dbias ? bias_gradient(upstream) : torch::stable::new_empty(x, {0})};
}

}  // namespace
}  // namespace gpt2x::cpu

// No tensor says for which device: this one is asked for by name alone.
STABLE_TORCH_LIBRARY_IMPL(gpt2x, CompositeExplicitAutograd, m) {
  m.impl("onednn_multiplies", TORCH_BOX(&gpt2x::cpu::onednn_multiplies));
}

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("linear", TORCH_BOX(&gpt2x::cpu::linear));
  m.impl("linear_backward", TORCH_BOX(&gpt2x::cpu::linear_backward));
}
