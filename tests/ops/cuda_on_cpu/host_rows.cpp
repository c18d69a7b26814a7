// The row functions as a CPU runs them, one thread a row, for comparisons bit for bit. Compiled with the
// flags of the emulated kernels, so that neither contracts a product and a sum into one rounding.
#include "rows/adamw.h"

using gpt2x::rows::bfloat16;

namespace {

// f(parameter, gradient, moment) for the combinations that adamw_ takes.
template <class F>
int with_types(int dtype, int grad_dtype, int moment_dtype, const F& f) {
  if (dtype == 0 && grad_dtype == 0 && moment_dtype == 0) return f(float{}, float{}, float{});
  if (dtype == 0 && grad_dtype == 1 && moment_dtype == 0) return f(float{}, bfloat16{}, float{});
  if (dtype == 1 && grad_dtype == 1 && moment_dtype == 1) return f(bfloat16{}, bfloat16{}, bfloat16{});
  if (dtype == 1 && grad_dtype == 1 && moment_dtype == 0) return f(bfloat16{}, bfloat16{}, float{});
  return 1;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int host_adamw(
    int dtype, int grad_dtype, int moment_dtype, void* param, const void* grad, void* exp_avg,
    void* exp_avg_sq, void* bf16_param, int64_t n, int64_t count, double lr, double beta1, double beta2,
    double eps, double weight_decay, float grad_norm, float max_norm) {
  using namespace gpt2x::rows;
  const auto step = cast_step<float>(adamw_step(count, lr, beta1, beta2, eps));
  const float shrink = static_cast<float>(1.0 - lr * weight_decay), clip = clip_factor(grad_norm, max_norm);
  return with_types(dtype, grad_dtype, moment_dtype, [&](auto parameter, auto gradient, auto moment) -> int {
    auto* const p = static_cast<decltype(parameter)*>(param);
    const auto* const g = static_cast<const decltype(gradient)*>(grad);
    auto* const m = static_cast<decltype(moment)*>(exp_avg);
    auto* const v = static_cast<decltype(moment)*>(exp_avg_sq);
    auto* const copy = static_cast<bfloat16*>(bf16_param);
    if (copy != nullptr) {
      adamw_span<true>(SingleThread{}, p, g, m, v, copy, n, step, shrink, clip);
    } else {
      adamw_span<false>(SingleThread{}, p, g, m, v, nullptr, n, step, shrink, clip);
    }
    return 0;
  });
}
