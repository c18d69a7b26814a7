#include "gemm.h"

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include <array>
#include <cstdlib>
#include <exception>
#include <string_view>

// As torch/csrc/inductor/aoti_torch/c/shim_cpu.h declares it, which includes ATen. Weak: null where torch was
// built without oneDNN.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_cpu__linear_pointwise(
    AtenTensorHandle X, AtenTensorHandle W, AtenTensorHandle* B, const char* attr, const double** scalars,
    int64_t scalars_len_, const char** algorithm, AtenTensorHandle* ret0);

namespace gpt2x::cpu {
namespace {

using torch::stable::detail::from;
using torch::stable::detail::to;

// out = a @ b, through torch's dispatcher.
void mm_out(const Tensor& a, const Tensor& b, const Tensor& out) {
  std::array<StableIValue, 3> stack{from(a), from(b), from(out)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  to<Tensor>(stack[0]);  // takes the returned handle of `out` and lets it go
}

Tensor torch_linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  std::array<StableIValue, 3> stack{from(x), from(weight), from(bias)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::linear", "", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
}

// oneDNN refuses rows that overlap, as those of `unfold` do, and columns that are spread out.
Tensor without_gaps(const Tensor& matrix) {
  return transposed(matrix).is_contiguous() ? matrix : dense(matrix);
}

// The operator that torch.compile calls for a float32 linear layer. It copies an x that is not contiguous.
// Nothing is fused behind it here, so no numbers and no algorithm for that.
//
// Called by its C name and not through the dispatcher: torch 2.13 leaks every string argument that
// comes that way, 160 bytes a call, and each such crumb cut the heap in two; a float32 training step grew by
// 110 MB a step.
Tensor onednn_linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  const Tensor from = without_gaps(x), by = without_gaps(weight);
  const std::optional<Tensor> plus = dense(bias);
  AtenTensorHandle plus_handle = plus ? plus->get() : nullptr, result = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_cpu__linear_pointwise(from.get(), by.get(), plus ? &plus_handle : nullptr,
                                                          "none", nullptr, 0, nullptr, &result));
  return Tensor(result);
}

bool runs_on_amd() {
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
  return __builtin_cpu_is("amd");
#else
  return false;
#endif
}

// Some builds of torch lack oneDNN.
bool onednn_answers() {
  if (&aoti_torch_cpu__linear_pointwise == nullptr) return false;
  try {
    const Tensor one = torch::stable::full({8, 8}, 1.0, ScalarType::Float);
    return *read<float>(onednn_linear(one, one, std::nullopt)) == 8.0f;
  } catch (const std::exception&) {
    return false;
  }
}

bool choose_onednn() {
  const char* variable = std::getenv("GPT2X_GEMM");
  const std::string_view choice = variable == nullptr ? "" : variable;
  if (choice == "torch") return false;
  return (choice == "onednn" || runs_on_amd()) && onednn_answers();
}

bool goes_to_onednn(const Tensor& a) {
  return a.numel() > 0 && onednn_takes(a.scalar_type());
}

}  // namespace

bool onednn_multiplies() {
  static const bool chosen = choose_onednn();
  return chosen;
}

bool onednn_takes(ScalarType dtype) {
  return dtype == ScalarType::Float && onednn_multiplies();
}

Tensor multiply(const Tensor& a, const Tensor& b, std::optional<Tensor> out) {
  if (goes_to_onednn(a) && b.numel() > 0) {
    out.reset();  // its memory may serve the result
    return onednn_linear(a, transposed(b), std::nullopt);
  }
  const Tensor result = out ? *out : torch::stable::new_empty(a, {a.size(0), b.size(1)});
  mm_out(a, b, result);
  return result;
}

void add_product(const Tensor& a, const Tensor& b, const Tensor& out) {
  TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_addmm_out(out.get(), out.get(), a.get(), b.get(), 1.0, 1.0));
}

Tensor multiply_and_add(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  if (goes_to_onednn(x) && weight.numel() > 0) return onednn_linear(x, weight, bias);
  return torch_linear(x, weight, bias);
}

}  // namespace gpt2x::cpu
