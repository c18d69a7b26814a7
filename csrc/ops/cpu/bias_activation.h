// y = f(x + bias) on the CPU for any activation f (rows/bias_activation.h): one read and one write an element
// forward, two reads and one write backward.
#pragma once

#include <tuple>
#include <utility>
#include <vector>

#include "../rows/bias_activation.h"

#include "../checks.h"
#include "clones.h"
#include "row_blocks.h"

namespace gpt2x::cpu {
namespace {

template <class F, class T, class P>
GPT2X_CLONES void forward_rows(int64_t begin, int64_t end, const T* x, const P* bias, int64_t C, T* y) {
  for (int64_t n = begin; n < end; ++n)
    rows::bias_activation_row<F>(rows::SingleThread{}, x + n * C, bias, C, y + n * C);
}

template <class F, class T, class P, class W = rows::Accumulation<T>>
GPT2X_CLONES void backward_rows(int64_t begin, int64_t end, const T* dy, const T* x, const P* bias, int64_t C,
                                T* dx, W* dbias) {
  for (int64_t n = begin; n < end; ++n) {
    rows::bias_activation_backward_row<F>(rows::SingleThread{}, dy + n * C, x + n * C, bias, C, dx + n * C,
                                          dbias);
  }
}

// (rows, columns) of x (..., C).
std::pair<int64_t, int64_t> check_input(const Tensor& x, const std::optional<Tensor>& bias) {
  check_cpu("x", x);
  if (x.dim() < 1) refuse("x: expected (..., C), got a 0-dim tensor");
  const int64_t C = x.size(x.dim() - 1);
  if (bias) {
    check_cpu("bias", *bias);
    check_parameter_dtype("bias", *bias, x.scalar_type());
    check_shape("bias", *bias, {C});
  }
  return {C == 0 ? 0 : x.numel() / C, C};
}

template <class F>
Tensor bias_activation(const Tensor& x, std::optional<Tensor> bias) {
  const auto [N, C] = check_input(x, bias);
  const Tensor rows_in = dense(x);
  const std::optional<Tensor> shift = dense(bias);
  Tensor y = torch::stable::new_empty(rows_in, x.sizes());
  with_storage("x", x.scalar_type(), bias ? bias->scalar_type() : x.scalar_type(),
               [&](auto activation, auto parameter) {
                 using T = decltype(activation);
                 using P = decltype(parameter);
                 const T* from = read<T>(rows_in);
                 const P* plus = read<P>(shift);
                 T* to = write<T>(y);
                 parallel_for(0, N, grain_rows(C), [=, columns = C](int64_t begin, int64_t end) {
                   forward_rows<F>(begin, end, from, plus, columns, to);
                 });
               });
  return y;
}

template <class F>
std::tuple<Tensor, Tensor> bias_activation_backward(const Tensor& dy, const Tensor& x,
                                                    std::optional<Tensor> bias) {
  const auto [num_rows, columns] = check_input(x, bias);
  const int64_t N = num_rows, C = columns;  // structured bindings cannot be captured everywhere
  check_like("dy", dy, x);
  const Tensor upstream = dense(dy), rows_in = dense(x);
  const std::optional<Tensor> shift = dense(bias);
  Tensor dx = torch::stable::new_empty(rows_in, x.sizes());
  Tensor dbias = bias ? torch::stable::new_empty(*bias, {C}) : torch::stable::new_empty(rows_in, {0});
  with_storage("x", x.scalar_type(), bias ? bias->scalar_type() : x.scalar_type(),
               [&](auto activation, auto parameter) {
                 using T = decltype(activation);
                 using P = decltype(parameter);
                 using W = rows::Accumulation<T>;
                 RowSums<W> sums(N, bias ? C : 0);
                 const T *from_dy = read<T>(upstream), *from = read<T>(rows_in);
                 const P* plus = read<P>(shift);
                 T* to = write<T>(dx);
                 sums.add([=](int64_t begin, int64_t end, W* run) {
                   backward_rows<F>(begin, end, from_dy, from, plus, C, to, run);
                 });
                 if (bias) sums.sum(0, C, write<P>(dbias));
               });
  return {dx, dbias};
}

}  // namespace
}  // namespace gpt2x::cpu
