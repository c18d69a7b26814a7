// gemv on the CPU: a weight is streamed once, by rows, and that stream is all the time it takes: 4, 2 or 1
// bytes a weight in float32, bfloat16 and int8. Rows are spread over threads in one contiguous range each.
#include "../rows/gemv.h"

#include <torch/csrc/stable/library.h>

#include <vector>

#include "../checks.h"
#include "clones.h"
#include "row_blocks.h"

namespace gpt2x::cpu {
namespace {

// y[n][o] for the weight rows begin..end and all N vectors; a weight row stays in the cache between vectors.
template <class P, class T, class W = rows::Accumulation<T>>
GPT2X_CLONES void dot_rows(int64_t begin, int64_t end, const T* x, int64_t N, const P* weight, int64_t I,
                           int64_t O, const float* scale, const T* bias, T* y) {
  for (int64_t o = begin; o < end; ++o) {
    for (int64_t n = 0; n < N; ++n) {
      const W sum = rows::dot<W>(rows::SingleThread{}, weight + o * I, x + n * I, I);
      y[n * O + o] = rows::gemv_element(sum, scale, bias, o);
    }
  }
}

void check_weight(const Tensor& weight, const Tensor& x, const std::optional<Tensor>& scale) {
  check_cpu("weight", weight);
  if (weight.dim() != 2 || weight.size(1) != x.size(1))
    refuse("weight: expected (O, ", x.size(1), "), got ", shape_of(weight));
  if (weight.scalar_type() == ScalarType::Char) {
    if (!scale) refuse("scale: expected (", weight.size(0), ") beside an int8 weight, got None");
    check_cpu("scale", *scale);
    check_dtype("scale", *scale, ScalarType::Float);
    check_shape("scale", *scale, {weight.size(0)});
    return;
  }
  if (scale) refuse("scale: expected None beside a weight that is not int8");
  const bool bf16_beside_float =
      x.scalar_type() == ScalarType::Float && weight.scalar_type() == ScalarType::BFloat16;
  if (!bf16_beside_float) check_parameter_dtype("weight", weight, x.scalar_type());
}

// Calls f with a value of the C++ type of the weight.
template <class F>
void with_weight(ScalarType dtype, const F& f) {
  if (dtype == ScalarType::Char) return f(int8_t{});
  with_storage("weight", dtype, f);
}

Tensor gemv(const Tensor& x, const Tensor& weight, std::optional<Tensor> scale, std::optional<Tensor> bias) {
  check_cpu("x", x);
  if (x.dim() != 2) refuse("x: expected (N, I), got ", shape_of(x));
  check_weight(weight, x, scale);
  const int64_t N = x.size(0), I = x.size(1), O = weight.size(0);
  if (bias) {
    check_cpu("bias", *bias);
    check_dtype("bias", *bias, x.scalar_type());
    check_shape("bias", *bias, {O});
  }
  const Tensor vectors = dense(x), matrix = dense(weight);
  const std::optional<Tensor> factors = dense(scale), shift = dense(bias);
  Tensor y = torch::stable::new_empty(x, {N, O});
  with_storage("x", x.scalar_type(), [&](auto activation) {
    using T = decltype(activation);
    const T *from = read<T>(vectors), *plus = read<T>(shift);
    const float* by = read<float>(factors);
    T* to = write<T>(y);
    with_weight(weight.scalar_type(), [&](auto stored) {
      using P = decltype(stored);
      const P* rows_of_weight = read<P>(matrix);
      parallel_for(0, O, grain_rows(I), [=](int64_t begin, int64_t end) {
        dot_rows(begin, end, from, N, rows_of_weight, I, O, by, plus, to);
      });
    });
  });
  return y;
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("gemv", TORCH_BOX(&gpt2x::cpu::gemv));
}
