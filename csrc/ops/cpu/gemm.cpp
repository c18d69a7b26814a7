#include "gemm.h"

#include <array>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

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

// The operator that torch.compile calls for a float32 linear layer; it takes any strides of x and weight.
Tensor onednn_linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  std::array<StableIValue, 6> stack{from(x),
                                    from(weight),
                                    from(bias),
                                    from(std::string("none")),    // nothing fused behind it, so
                                    from(std::vector<double>{}),  // no numbers for that
                                    from(std::optional<std::string>{std::string()})};  // and no algorithm
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("mkldnn::_linear_pointwise", "", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
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
  return a.scalar_type() == ScalarType::Float && a.numel() > 0 && onednn_multiplies();
}

}  // namespace

bool onednn_multiplies() {
  static const bool chosen = choose_onednn();
  return chosen;
}

Tensor multiply(const Tensor& a, const Tensor& b, const std::optional<Tensor>& out) {
  if (goes_to_onednn(a) && b.numel() > 0) return onednn_linear(a, transposed(b), std::nullopt);
  const Tensor result = out ? *out : torch::stable::new_empty(a, {a.size(0), b.size(1)});
  mm_out(a, b, result);
  return result;
}

Tensor multiply_and_add(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  if (goes_to_onednn(x) && weight.numel() > 0) return onednn_linear(x, weight, bias);
  return torch_linear(x, weight, bias);
}

}  // namespace gpt2x::cpu
