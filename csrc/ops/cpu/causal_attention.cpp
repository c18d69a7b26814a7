// causal_attention on the CPU: heads are spread over torch's threads, and each is computed in tiles by one of
// them (attention_tiles.h), so the result has the same bits for any number of threads. Queries, keys and
// values are read where the projection wrote them, and the gradient is written where the projection's
// backward reads it: no permuted copies, no assembly of three gradients.
//
// Bytes that must move, of s each: 4 B T C s forward, 9 B T C s backward. Operations: 2 B T² C and 5 B T² C
// multiply-adds halved by causality. From some 100 tokens on the operations decide.
#include <torch/csrc/stable/library.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <tuple>
#include <type_traits>

#include "../checks.h"
#include "attention_tiles.h"
#include "row_blocks.h"
#include "target.h"

namespace gpt2x::cpu {
namespace {

// The kernels for this processor.
template <class T>
AttentionKernels<T> choose_kernels() {
#if GPT2X_X86_TARGETS
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if constexpr (std::is_same_v<T, rows::bfloat16>) {
    if (has_avx512 && __builtin_cpu_supports("avx512bf16")) return avx512_bf16_attention();
  }
  if (has_avx512) return avx512_attention<T>();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_attention<T>();
#endif
  return attention_of<Plain<T>>();
}

template <class T>
const AttentionKernels<T>& kernels() {
  static const AttentionKernels<T> chosen = choose_kernels<T>();
  return chosen;
}

// Memory of one thread, for all heads that it computes.
class Memory {
 public:
  explicit Memory(int64_t bytes) : data_(::operator new(static_cast<size_t>(bytes), kAlignment)) {}
  void* get() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(void* data) const { ::operator delete(data, kAlignment); }
  };
  std::unique_ptr<void, Free> data_;
};

struct Sizes {
  int64_t B, T, C, H;
  int64_t num_heads() const { return B * H; }
  HeadShape head() const { return {T, H > 0 ? C / H : 0, 3 * C, C}; }
  // Where a head's first row stands in qkv (its queries), and in y.
  int64_t in_qkv(int64_t head) const { return head / H * T * 3 * C + head % H * (C / H); }
  int64_t in_y(int64_t head) const { return head / H * T * C + head % H * (C / H); }
};

Sizes check_qkv(const Tensor& qkv, int64_t num_heads) {
  check_cpu("qkv", qkv);
  if (qkv.dim() != 3 || qkv.size(2) % 3 != 0) refuse("qkv: expected (B, T, 3 C), got ", shape_of(qkv));
  const Sizes z{qkv.size(0), qkv.size(1), qkv.size(2) / 3, num_heads};
  if (num_heads < 1 || z.C % num_heads != 0)
    refuse("num_heads: expected a divisor of C = ", z.C, ", got ", num_heads);
  return z;
}

// Calls f with the first and one past the last head of a share, and with the memory to compute them in.
template <class F>
void share_heads(const Sizes& z, int64_t bytes, const F& f) {
  if (z.T == 0 || z.C == 0) return;
  parallel_for(0, z.num_heads(), grain_rows(z.T * z.T * (z.C / z.H) / 64), [&](int64_t begin, int64_t end) {
    const Memory memory(bytes);
    for (int64_t head = begin; head < end; ++head) f(head, memory.get());
  });
}

std::tuple<Tensor, Tensor> causal_attention(const Tensor& qkv, int64_t num_heads) {
  const Sizes z = check_qkv(qkv, num_heads);
  const Tensor from = dense(qkv);
  Tensor y = torch::stable::new_empty(from, {z.B, z.T, z.C});
  Tensor lse = torch::stable::new_empty(from, {z.B, z.H, z.T}, accumulation_dtype(qkv.scalar_type()));
  with_storage("qkv", qkv.scalar_type(), [&](auto value) {
    using T = decltype(value);
    const T* read_qkv = read<T>(from);
    T* write_y = write<T>(y);
    auto* write_lse = write<rows::Accumulation<T>>(lse);
    const HeadShape shape = z.head();
    share_heads(z, kernels<T>().forward_bytes(shape), [&](int64_t head, void* memory) {
      const T* q = read_qkv + z.in_qkv(head);
      kernels<T>().forward(shape, {q, q + z.C, q + 2 * z.C, write_y + z.in_y(head), write_lse + head * z.T},
                           memory);
    });
  });
  return {y, lse};
}

Tensor causal_attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& y, const Tensor& lse,
                                 int64_t num_heads) {
  const Sizes z = check_qkv(qkv, num_heads);
  const std::vector<int64_t> shape_of_y{z.B, z.T, z.C};
  for (const auto& [name, tensor] : {std::pair<const char*, const Tensor&>{"dy", dy}, {"y", y}}) {
    check_cpu(name, tensor);
    check_dtype(name, tensor, qkv.scalar_type());
    check_shape(name, tensor, shape_of_y);
  }
  check_cpu("lse", lse);
  check_dtype("lse", lse, accumulation_dtype(qkv.scalar_type()));
  check_shape("lse", lse, {z.B, z.H, z.T});
  const Tensor from = dense(qkv), from_dy = dense(dy), from_y = dense(y), from_lse = dense(lse);
  Tensor dqkv = torch::stable::new_empty(from, {z.B, z.T, 3 * z.C});
  with_storage("qkv", qkv.scalar_type(), [&](auto value) {
    using T = decltype(value);
    const T *read_qkv = read<T>(from), *read_y = read<T>(from_y), *read_dy = read<T>(from_dy);
    const auto* read_lse = read<rows::Accumulation<T>>(from_lse);
    T* write_dqkv = write<T>(dqkv);
    const HeadShape shape = z.head();
    share_heads(z, kernels<T>().backward_bytes(shape), [&](int64_t head, void* memory) {
      const T* q = read_qkv + z.in_qkv(head);
      T* dq = write_dqkv + z.in_qkv(head);
      kernels<T>().backward(shape,
                            {q, q + z.C, q + 2 * z.C, read_y + z.in_y(head), read_dy + z.in_y(head),
                             read_lse + head * z.T, dq, dq + z.C, dq + 2 * z.C},
                            memory);
    });
  });
  return dqkv;
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("causal_attention", TORCH_BOX(&gpt2x::cpu::causal_attention));
  m.impl("causal_attention_backward", TORCH_BOX(&gpt2x::cpu::causal_attention_backward));
}
