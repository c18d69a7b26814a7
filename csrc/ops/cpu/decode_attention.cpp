// decode_attention on the CPU: the tokens of a head are cut into parts, parts are spread over torch's threads
// and put together in their order. How they are cut depends on S alone, so the result has the same bits for
// any number of threads. The keys and values are read where the cache holds them, without a copy.
#include "../rows/decode_attention.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
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

constexpr int64_t kTokensPerPart = 512;

// Parts begin..end of all heads' parts, `count` to a head.
template <class T, class W = rows::Accumulation<T>>
GPT2X_CLONES void parts(int64_t begin, int64_t end, int64_t H, const T* query, const T* keys, Layout key,
                        const T* values, Layout value, int64_t S, int64_t D, int64_t count, W* scores,
                        rows::AttentionPart<W>* found, W* totals) {
  const W scale = W(1) / static_cast<W>(std::sqrt(static_cast<double>(D)));
  for (int64_t i = begin; i < end; ++i) {
    const int64_t head = i / count, first = i % count * kTokensPerPart, b = head / H, h = head % H;
    found[i] = rows::decode_attention_part(
        rows::SingleThread{}, query + head * D, keys + b * key.batch + h * key.head + first * key.token,
        key.token, values + b * value.batch + h * value.head + first * value.token, value.token,
        std::min(kTokensPerPart, S - first), D, scale, scores, totals + i * D);
  }
}

template <class T, class W = rows::Accumulation<T>>
GPT2X_CLONES void merge(int64_t num_heads, const rows::AttentionPart<W>* found, const W* totals,
                        int64_t count, int64_t D, T* y) {
  for (int64_t head = 0; head < num_heads; ++head) {
    rows::decode_attention_merge(rows::SingleThread{}, found + head * count, totals + head * count * D, count,
                                 D, y + head * D);
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
    using W = rows::Accumulation<T>;
    const T *from = read<T>(asked), *from_keys = read<T>(keys), *from_values = read<T>(values);
    T* to = write<T>(y);
    const int64_t count = (S + kTokensPerPart - 1) / kTokensPerPart, num_parts = B * H * count;
    std::vector<rows::AttentionPart<W>> found(static_cast<size_t>(num_parts));
    std::vector<W> totals(static_cast<size_t>(num_parts * D));
    rows::AttentionPart<W>* to_part = found.data();
    W* to_total = totals.data();
    parallel_for(0, num_parts, grain_rows(std::min(S, kTokensPerPart) * D), [=](int64_t begin, int64_t end) {
      std::vector<W> scores(static_cast<size_t>(std::min(S, kTokensPerPart)));
      parts(begin, end, H, from, from_keys, key, from_values, value, S, D, count, scores.data(), to_part,
            to_total);
    });
    merge(B * H, to_part, to_total, count, D, to);
  });
  return y;
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("decode_attention", TORCH_BOX(&gpt2x::cpu::decode_attention));
}
