// qk_norm_rotary on the CPU: a token is worked by one thread, tokens are spread over torch's threads. Forward
// reads and writes each element once, backward reads two and writes one; the values' channels are copied, for
// a registered gradient knows no result that is its argument.
#include "../rows/qk_norm_rotary.h"

#include <torch/csrc/stable/library.h>

#include <vector>

#include "../checks.h"
#include "clones.h"
#include "row_blocks.h"

namespace gpt2x::cpu {
namespace {

struct Sizes {
  int64_t B, T, H, D;
};

// Cosines and sines of all T positions, or null.
template <class W>
struct Table {
  const W *cos, *sin;
  int64_t T, D;
  rows::Rotation<W> of_token(int64_t n) const {
    const int64_t place = n % T * D;
    return cos != nullptr ? rows::Rotation<W>{cos + place, sin + place} : rows::Rotation<W>{};
  }
};

template <class T, class W = rows::Accumulation<T>>
GPT2X_CLONES void forward_rows(int64_t begin, int64_t end, const T* x, const Table<W>& table, int64_t H,
                               bool qk_norm, T* y) {
  const int64_t width = 3 * H * table.D;
  for (int64_t n = begin; n < end; ++n) {
    rows::qk_norm_rotary_row(rows::SingleThread{}, x + n * width, table.of_token(n), H, table.D, qk_norm,
                             y + n * width);
  }
}

template <class T, class W = rows::Accumulation<T>>
GPT2X_CLONES void backward_rows(int64_t begin, int64_t end, const T* dy, const T* x, const Table<W>& table,
                                int64_t H, T* dx) {
  const int64_t width = 3 * H * table.D;
  for (int64_t n = begin; n < end; ++n) {
    rows::qk_norm_rotary_backward_row(rows::SingleThread{}, dy + n * width, x ? x + n * width : nullptr,
                                      table.of_token(n), H, table.D, dx + n * width);
  }
}

Sizes check_rows(const char* name, const Tensor& qkv, int64_t num_heads) {
  check_cpu(name, qkv);
  if (qkv.dim() != 3 || qkv.size(2) % 3 != 0) refuse(name, ": expected (B, T, 3 C), got ", shape_of(qkv));
  const int64_t C = qkv.size(2) / 3;
  if (num_heads < 1 || C % num_heads != 0)
    refuse("num_heads: expected a divisor of C = ", C, ", got ", num_heads);
  return {qkv.size(0), qkv.size(1), num_heads, C / num_heads};
}

void check_rotation(const std::optional<Tensor>& cos, const std::optional<Tensor>& sin, const Sizes& z,
                    ScalarType dtype) {
  if (cos.has_value() != sin.has_value()) refuse("cos, sin: expected both or none");
  if (!cos) return;
  if (z.D % 2 != 0) refuse("cos, sin: expected none for heads of D = ", z.D, " channels, which is odd");
  for (const auto& [name, tensor] : {std::pair<const char*, const Tensor&>{"cos", *cos}, {"sin", *sin}}) {
    check_cpu(name, tensor);
    check_dtype(name, tensor, accumulation_dtype(dtype));
    check_shape(name, tensor, {z.T, z.D});
  }
}

Tensor qk_norm_rotary(const Tensor& qkv, std::optional<Tensor> cos, std::optional<Tensor> sin,
                      int64_t num_heads, bool qk_norm) {
  const Sizes z = check_rows("qkv", qkv, num_heads);
  check_rotation(cos, sin, z, qkv.scalar_type());
  const Tensor from = dense(qkv);
  const std::optional<Tensor> from_cos = dense(cos), from_sin = dense(sin);
  Tensor y = torch::stable::new_empty(from, qkv.sizes());
  with_storage("qkv", qkv.scalar_type(), [&](auto value) {
    using T = decltype(value);
    using W = rows::Accumulation<T>;
    const Table<W> table{read<W>(from_cos), read<W>(from_sin), z.T, z.D};
    const T* x = read<T>(from);
    T* to = write<T>(y);
    parallel_for(0, z.B * z.T, grain_rows(3 * z.H * z.D),
                 [=](int64_t begin, int64_t end) { forward_rows(begin, end, x, table, z.H, qk_norm, to); });
  });
  return y;
}

Tensor qk_norm_rotary_backward(const Tensor& dy, std::optional<Tensor> qkv, std::optional<Tensor> cos,
                               std::optional<Tensor> sin, int64_t num_heads) {
  const Sizes z = check_rows("dy", dy, num_heads);
  check_rotation(cos, sin, z, dy.scalar_type());
  if (qkv) check_like("qkv", *qkv, dy);
  const Tensor upstream = dense(dy);
  const std::optional<Tensor> from = dense(qkv), from_cos = dense(cos), from_sin = dense(sin);
  Tensor dqkv = torch::stable::new_empty(upstream, dy.sizes());
  with_storage("dy", dy.scalar_type(), [&](auto value) {
    using T = decltype(value);
    using W = rows::Accumulation<T>;
    const Table<W> table{read<W>(from_cos), read<W>(from_sin), z.T, z.D};
    const T *from_dy = read<T>(upstream), *x = read<T>(from);
    T* to = write<T>(dqkv);
    parallel_for(0, z.B * z.T, grain_rows(3 * z.H * z.D),
                 [=](int64_t begin, int64_t end) { backward_rows(begin, end, from_dy, x, table, z.H, to); });
  });
  return dqkv;
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("qk_norm_rotary", TORCH_BOX(&gpt2x::cpu::qk_norm_rotary));
  m.impl("qk_norm_rotary_backward", TORCH_BOX(&gpt2x::cpu::qk_norm_rotary_backward));
}
