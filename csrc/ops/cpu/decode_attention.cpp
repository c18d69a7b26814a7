// decode_attention on the CPU: one head is worked by one thread, heads are spread over torch's threads. The
// keys and values are read where the cache holds them, without a copy.
#include "../rows/decode_attention.h"

#include <torch/csrc/stable/library.h>

#include <cmath>
#include <vector>

#include "../checks.h"
#include "clones.h"
#include "row_blocks.h"

namespace gpt2x::cpu {
namespace {

// Where the rows of a (B, H, S, D) tensor stand, in elements.
struct Layout {
  int64_t batch, head, token;
};

Layout layout_of(const char* name, const Tensor& tensor) {
  if (tensor.size(3) > 1 && tensor.stride(3) != 1)
    refuse(name, ": expected the D elements of a head side by side, got stride ", tensor.stride(3));
  return {tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

template <class T, class W = rows::Wide<T>>
GPT2X_CLONES void heads(int64_t begin, int64_t end, int64_t H, const T* query, const T* keys, Layout key,
                        const T* values, Layout value, int64_t S, int64_t D, W* room, T* y) {
  const W scale = W(1) / static_cast<W>(std::sqrt(static_cast<double>(D)));
  for (int64_t i = begin; i < end; ++i) {
    const int64_t b = i / H, h = i % H;
    rows::decode_attention_head(rows::Solo{}, query + i * D, keys + b * key.batch + h * key.head, key.token,
                                values + b * value.batch + h * value.head, value.token, S, D, scale, room,
                                room + S, y + i * D);
  }
}

Tensor decode_attention(const Tensor& query, const Tensor& keys, const Tensor& values) {
  check_cpu("query", query);
  if (query.dim() != 3) refuse("query: expected (B, H, D), got ", shape_of(query));
  const int64_t B = query.size(0), H = query.size(1), D = query.size(2);
  check_cpu("keys", keys);
  check_dtype("keys", keys, query.scalar_type());
  if (keys.dim() != 4 || keys.size(2) < 1) {
    refuse("keys: expected (", B, ", ", H, ", S, ", D, ") with S > 0, got ", shape_of(keys));
  }
  const int64_t S = keys.size(2);
  check_shape("keys", keys, {B, H, S, D});
  check_like("values", values, keys);
  const Layout key = layout_of("keys", keys), value = layout_of("values", values);
  const Tensor asked = dense(query);
  Tensor y = torch::stable::new_empty(asked, {B, H, D});
  with_storage("query", query.scalar_type(), [&](auto activation) {
    using T = decltype(activation);
    using W = rows::Wide<T>;
    const T *from = read<T>(asked), *from_keys = read<T>(keys), *from_values = read<T>(values);
    T* to = write<T>(y);
    parallel_for(0, B * H, grain_rows(S * D), [=](int64_t begin, int64_t end) {
      std::vector<W> room(static_cast<size_t>(S + D));
      heads(begin, end, H, from, from_keys, key, from_values, value, S, D, room.data(), to);
    });
  });
  return y;
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("decode_attention", TORCH_BOX(&gpt2x::cpu::decode_attention));
}
