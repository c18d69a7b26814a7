// adamw_ on the CPU: all tensors in one parallel region. 28 bytes of memory traffic per float32 parameter
// (four reads, three writes), and as many with a bfloat16 gradient and a bfloat16 bf16_param; it should run
// at the speed of memory.
#include "../rows/adamw.h"

#include <torch/csrc/stable/library.h>

#include <vector>

#include "../checks.h"
#include "clones.h"
#include "row_blocks.h"
#include "spans.h"

namespace gpt2x::cpu {
namespace {

template <class P, class G, class S, class W = rows::Accumulation<P>>
GPT2X_CLONES void update_span(P* param, const G* grad, S* exp_avg, S* exp_avg_sq, int64_t n,
                              rows::AdamwStep<W> step, W shrink, W clip) {
  rows::adamw_span<false>(rows::SingleThread{}, param, grad, exp_avg, exp_avg_sq, nullptr, n, step, shrink,
                          clip);
}

template <class P, class G, class S, class W = rows::Accumulation<P>>
GPT2X_CLONES void update_span_and_bf16(P* param, const G* grad, S* exp_avg, S* exp_avg_sq,
                                       rows::bfloat16* bf16_param, int64_t n, rows::AdamwStep<W> step,
                                       W shrink, W clip) {
  rows::adamw_span<true>(rows::SingleThread{}, param, grad, exp_avg, exp_avg_sq, bf16_param, n, step, shrink,
                         clip);
}

std::vector<int64_t> shape_vector(const Tensor& tensor) {
  return std::vector<int64_t>(tensor.sizes().begin(), tensor.sizes().end());
}

// A tensor without a bf16_param has one of no elements.
bool has_bf16(const std::vector<Tensor>& bf16_params, size_t i) {
  return !bf16_params.empty() && bf16_params[i].numel() > 0;
}

void check_lists(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                 const std::vector<Tensor>& bf16_params, const std::vector<double>& weight_decay) {
  const size_t count = params.size();
  if (grads.size() != count || exp_avgs.size() != count || exp_avg_sqs.size() != count ||
      weight_decay.size() != count) {
    refuse("grads, exp_avgs, exp_avg_sqs, weight_decay: expected ", count, " of each as params, got ",
           grads.size(), ", ", exp_avgs.size(), ", ", exp_avg_sqs.size(), ", ", weight_decay.size());
  }
  if (!bf16_params.empty() && bf16_params.size() != count) {
    refuse("bf16_params: expected none or ", count, " as params, got ", bf16_params.size());
  }
  for (size_t i = 0; i < count; ++i) {
    const ScalarType dtype = params[i].scalar_type();
    check_cpu("params", params[i]);
    check_cpu("grads", grads[i]);
    if (!(dtype == ScalarType::Float && grads[i].scalar_type() == ScalarType::BFloat16)) {
      check_dtype("grads", grads[i], dtype);
    }
    check_shape("grads", grads[i], shape_vector(params[i]));
    check_cpu("exp_avgs", exp_avgs[i]);
    if (exp_avgs[i].scalar_type() != dtype) check_dtype("exp_avgs", exp_avgs[i], accumulation_dtype(dtype));
    check_shape("exp_avgs", exp_avgs[i], shape_vector(params[i]));
    check_like("exp_avg_sqs", exp_avg_sqs[i], exp_avgs[i]);
    if (!params[i].is_contiguous() || !exp_avgs[i].is_contiguous() || !exp_avg_sqs[i].is_contiguous()) {
      refuse("params, exp_avgs, exp_avg_sqs: expected contiguous tensors, number ", i, " is not");
    }
    with_storage("params", dtype, [](auto) {});
    if (has_bf16(bf16_params, i)) {
      check_cpu("bf16_params", bf16_params[i]);
      check_dtype("bf16_params", bf16_params[i], ScalarType::BFloat16);
      check_dtype("params", params[i], ScalarType::Float);
      check_shape("bf16_params", bf16_params[i], shape_vector(params[i]));
      if (!bf16_params[i].is_contiguous())
        refuse("bf16_params: expected contiguous tensors, number ", i, " is not");
    }
  }
}

// Calls f with values of the C++ types of a parameter, its gradient and its moments.
template <class F>
void with_types(const Tensor& param, const Tensor& grad, const Tensor& moment, const F& f) {
  if (grad.scalar_type() != param.scalar_type()) return f(float{}, rows::bfloat16{}, float{});
  with_storage("params", param.scalar_type(), moment.scalar_type(),
               [&](auto parameter, auto exp_avg) { f(parameter, parameter, exp_avg); });
}

double number_in(const char* name, const Tensor& tensor) {
  check_cpu(name, tensor);
  if (tensor.numel() != 1) refuse(name, ": expected one number, got shape ", shape_of(tensor));
  if (tensor.scalar_type() == ScalarType::Double) return *read<double>(tensor);
  check_dtype(name, tensor, ScalarType::Float);
  return *read<float>(tensor);
}

void adamw_(std::vector<Tensor> params, std::vector<Tensor> grads, std::vector<Tensor> exp_avgs,
            std::vector<Tensor> exp_avg_sqs, std::vector<Tensor> bf16_params, int64_t step,
            const Tensor& lr_number, double beta1, double beta2, double eps, std::vector<double> weight_decay,
            std::optional<Tensor> grad_norm, double max_norm) {
  check_lists(params, grads, exp_avgs, exp_avg_sqs, bf16_params, weight_decay);
  if (step < 1) refuse("step: expected a count from 1 on, got ", step);
  const double lr = number_in("lr", lr_number);
  const double norm = grad_norm ? number_in("grad_norm", *grad_norm) : 0.0;
  if (rows::is_refused(norm)) return;
  const double clip = grad_norm ? rows::clip_factor(norm, max_norm) : 1.0;
  const rows::AdamwStep<double> shared = rows::adamw_step(step, lr, beta1, beta2, eps);
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < params.size(); ++i) {
    grads[i] = dense(grads[i]);
    sizes.push_back(params[i].numel());
  }
  const std::vector<Span> spans = cut_into_spans(sizes);
  parallel_for(0, static_cast<int64_t>(spans.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [t, first, length] = spans[i];
      const double shrink = 1.0 - lr * weight_decay[t];
      const auto update = [&, t = t, first = first, length = length](auto parameter, auto grad, auto moment) {
        using P = decltype(parameter);
        using G = decltype(grad);
        using S = decltype(moment);
        using W = rows::Accumulation<P>;
        P* param = write<P>(params[t]) + first;
        const G* gradient = read<G>(grads[t]) + first;
        S *m = write<S>(exp_avgs[t]) + first, *v = write<S>(exp_avg_sqs[t]) + first;
        const auto numbers = rows::cast_step<W>(shared);
        if (has_bf16(bf16_params, t)) {
          update_span_and_bf16(param, gradient, m, v, write<rows::bfloat16>(bf16_params[t]) + first, length,
                               numbers, static_cast<W>(shrink), static_cast<W>(clip));
        } else {
          update_span(param, gradient, m, v, length, numbers, static_cast<W>(shrink), static_cast<W>(clip));
        }
      };
      with_types(params[t], grads[t], exp_avgs[t], update);
    }
  });
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("adamw_", TORCH_BOX(&gpt2x::cpu::adamw_));
}
