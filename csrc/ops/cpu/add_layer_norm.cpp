// add_layer_norm on the CPU: a row is worked by one thread, rows are spread over torch's threads.
//
// Forward reads x and residual and writes sum and y: 4 elements of memory traffic per element where addition
// and LayerNorm one after the other need 6 or more; it should run at the speed of memory.
#include "../rows/add_layer_norm.h"

#include <torch/csrc/stable/library.h>

#include <tuple>
#include <vector>

#include "../checks.h"
#include "clones.h"
#include "row_blocks.h"

namespace gpt2x::cpu {
namespace {

template <class T, class P, class W = rows::Accumulation<T>>
GPT2X_CLONES void forward_rows(int64_t begin, int64_t end, const T* x, const T* residual, const P* weight,
                               const P* bias, int64_t C, double eps, T* sum, T* y, W* mean, W* rstd) {
  for (int64_t n = begin; n < end; ++n) {
    rows::add_layer_norm_row(rows::SingleThread{}, x + n * C, residual ? residual + n * C : nullptr, weight,
                             bias, C, static_cast<W>(eps), residual ? sum + n * C : nullptr, y + n * C,
                             mean + n, rstd + n);
  }
}

template <class T, class P, class W = rows::Accumulation<T>>
GPT2X_CLONES void backward_rows(int64_t begin, int64_t end, const T* dy, const T* dsum, const T* sum,
                                const P* weight, const W* mean, const W* rstd, int64_t C, T* dx, W* dweight,
                                W* dbias) {
  for (int64_t n = begin; n < end; ++n) {
    rows::add_layer_norm_backward_row(rows::SingleThread{}, dy + n * C, dsum ? dsum + n * C : nullptr,
                                      sum + n * C, weight, mean[n], rstd[n], C, dx + n * C, dweight, dbias);
  }
}

int64_t check_channels(const Tensor& x) {
  if (x.dim() < 1 || x.size(x.dim() - 1) < 1) refuse("x: expected (..., C) with C > 0, got ", shape_of(x));
  return x.size(x.dim() - 1);
}

std::vector<int64_t> without_channels(const Tensor& x) {
  return std::vector<int64_t>(x.sizes().begin(), x.sizes().end() - 1);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> add_layer_norm(const Tensor& x, std::optional<Tensor> residual,
                                                          const Tensor& weight, std::optional<Tensor> bias,
                                                          double eps) {
  check_cpu("x", x);
  const int64_t C = check_channels(x), N = x.numel() / C;
  const ScalarType dtype = x.scalar_type();
  if (residual) check_like("residual", *residual, x);
  check_cpu("weight", weight);
  check_parameter_dtype("weight", weight, dtype);
  check_shape("weight", weight, {C});
  if (bias) check_like("bias", *bias, weight);

  const Tensor rows_in = dense(x), scale = dense(weight);
  const std::optional<Tensor> added = dense(residual), shift = dense(bias);
  Tensor y = torch::stable::new_empty(rows_in, x.sizes());
  Tensor sum =
      residual ? torch::stable::new_empty(rows_in, x.sizes()) : torch::stable::new_empty(rows_in, {0});
  Tensor mean = torch::stable::new_empty(rows_in, without_channels(x), accumulation_dtype(dtype));
  Tensor rstd = torch::stable::new_empty(rows_in, without_channels(x), accumulation_dtype(dtype));
  with_storage("x", dtype, weight.scalar_type(), [&](auto activation, auto parameter) {
    using T = decltype(activation);
    using P = decltype(parameter);
    using W = rows::Accumulation<T>;
    const T *from = read<T>(rows_in), *plus = read<T>(added);
    const P *by = read<P>(scale), *offset = read<P>(shift);
    T *to_sum = write<T>(sum), *to_y = write<T>(y);
    W *to_mean = write<W>(mean), *to_rstd = write<W>(rstd);
    parallel_for(0, N, grain_rows(C), [=](int64_t begin, int64_t end) {
      forward_rows(begin, end, from, plus, by, offset, C, eps, to_sum, to_y, to_mean, to_rstd);
    });
  });
  return {y, sum, mean, rstd};
}

std::tuple<Tensor, Tensor, Tensor> add_layer_norm_backward(const Tensor& dy, std::optional<Tensor> dsum,
                                                           const Tensor& sum, const Tensor& weight,
                                                           const Tensor& mean, const Tensor& rstd,
                                                           bool has_bias) {
  check_cpu("sum", sum);
  const int64_t C = check_channels(sum), N = sum.numel() / C;
  const ScalarType dtype = sum.scalar_type();
  check_like("dy", dy, sum);
  if (dsum) check_like("dsum", *dsum, sum);
  check_cpu("weight", weight);
  check_parameter_dtype("weight", weight, dtype);
  check_shape("weight", weight, {C});
  for (const auto& [name, statistic] : {std::pair{"mean", &mean}, std::pair{"rstd", &rstd}}) {
    check_cpu(name, *statistic);
    check_dtype(name, *statistic, accumulation_dtype(dtype));
    check_shape(name, *statistic, without_channels(sum));
  }

  const Tensor upstream = dense(dy), rows_in = dense(sum), scale = dense(weight), means = dense(mean),
               rstds = dense(rstd);
  const std::optional<Tensor> upstream_sum = dense(dsum);
  Tensor dx = torch::stable::new_empty(rows_in, sum.sizes());
  Tensor dweight = torch::stable::new_empty(weight, {C});
  Tensor dbias = torch::stable::new_empty(weight, {has_bias ? C : 0});
  with_storage("sum", dtype, weight.scalar_type(), [&](auto activation, auto parameter) {
    using T = decltype(activation);
    using P = decltype(parameter);
    using W = rows::Accumulation<T>;
    RowSums<W> sums(N, 2 * C);  // dweight, then dbias
    const T *from_dy = read<T>(upstream), *from_dsum = read<T>(upstream_sum), *from_sum = read<T>(rows_in);
    const P* by = read<P>(scale);
    const W *from_mean = read<W>(means), *from_rstd = read<W>(rstds);
    T* to_dx = write<T>(dx);
    sums.add([=](int64_t begin, int64_t end, W* run) {
      backward_rows(begin, end, from_dy, from_dsum, from_sum, by, from_mean, from_rstd, C, to_dx, run,
                    run + C);
    });
    sums.sum(0, C, write<P>(dweight));
    if (has_bias) sums.sum(C, C, write<P>(dbias));
  });
  return {dx, dweight, dbias};
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("add_layer_norm", TORCH_BOX(&gpt2x::cpu::add_layer_norm));
  m.impl("add_layer_norm_backward", TORCH_BOX(&gpt2x::cpu::add_layer_norm_backward));
}
