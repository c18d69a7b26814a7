// adamw_ on the CPU: all tensors in one parallel region. 28 bytes of memory traffic per float32 parameter
// (four reads, three writes); it should run at the speed of memory.
#include "../rows/adamw.h"

#include <torch/csrc/stable/library.h>

#include <vector>

#include "../checks.h"
#include "clones.h"
#include "row_blocks.h"
#include "spans.h"

namespace gpt2x::cpu {
namespace {

template <class P, class S, class W = rows::Wide<P>>
GPT2X_CLONES void update_span(P* param, const P* grad, S* exp_avg, S* exp_avg_sq, int64_t n,
                              rows::AdamwStep<W> step, W shrink, W clip) {
  rows::adamw_span(rows::Solo{}, param, grad, exp_avg, exp_avg_sq, n, step, shrink, clip);
}

void check_lists(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                 const std::vector<double>& weight_decay) {
  const size_t count = params.size();
  if (grads.size() != count || exp_avgs.size() != count || exp_avg_sqs.size() != count ||
      weight_decay.size() != count) {
    refuse("grads, exp_avgs, exp_avg_sqs, weight_decay: expected ", count, " of each as params, got ",
           grads.size(), ", ", exp_avgs.size(), ", ", exp_avg_sqs.size(), ", ", weight_decay.size());
  }
  for (size_t i = 0; i < count; ++i) {
    check_cpu("params", params[i]);
    check_like("grads", grads[i], params[i]);
    check_cpu("exp_avgs", exp_avgs[i]);
    if (exp_avgs[i].scalar_type() != params[i].scalar_type()) {
      check_dtype("exp_avgs", exp_avgs[i], wide_dtype(params[i].scalar_type()));
    }
    check_shape("exp_avgs", exp_avgs[i],
                std::vector<int64_t>(params[i].sizes().begin(), params[i].sizes().end()));
    check_like("exp_avg_sqs", exp_avg_sqs[i], exp_avgs[i]);
    if (!params[i].is_contiguous() || !exp_avgs[i].is_contiguous() || !exp_avg_sqs[i].is_contiguous()) {
      refuse("params, exp_avgs, exp_avg_sqs: expected contiguous tensors, number ", i, " is not");
    }
    with_storage("params", params[i].scalar_type(), [](auto) {});
  }
}

double number_in(const std::optional<Tensor>& tensor) {
  if (!tensor) return 0;
  check_cpu("grad_norm", *tensor);
  if (tensor->numel() != 1) refuse("grad_norm: expected one number, got shape ", shape_of(*tensor));
  if (tensor->scalar_type() == ScalarType::Double) return *read<double>(*tensor);
  check_dtype("grad_norm", *tensor, ScalarType::Float);
  return *read<float>(*tensor);
}

void adamw_(std::vector<Tensor> params, std::vector<Tensor> grads, std::vector<Tensor> exp_avgs,
            std::vector<Tensor> exp_avg_sqs, int64_t step, double lr, double beta1, double beta2, double eps,
            std::vector<double> weight_decay, std::optional<Tensor> grad_norm, double max_norm) {
  check_lists(params, grads, exp_avgs, exp_avg_sqs, weight_decay);
  if (step < 1) refuse("step: expected a count from 1 on, got ", step);
  const double clip = rows::clip_factor(number_in(grad_norm), grad_norm ? max_norm : 0.0);
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
      const auto update = [&, t = t, first = first, length = length](auto parameter, auto moment) {
        using P = decltype(parameter);
        using S = decltype(moment);
        using W = rows::Wide<P>;
        update_span(write<P>(params[t]) + first, read<P>(grads[t]) + first, write<S>(exp_avgs[t]) + first,
                    write<S>(exp_avg_sqs[t]) + first, length, rows::cast_step<W>(shared),
                    static_cast<W>(shrink), static_cast<W>(clip));
      };
      with_storage("params", params[t].scalar_type(), exp_avgs[t].scalar_type(), update);
    }
  });
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("adamw_", TORCH_BOX(&gpt2x::cpu::adamw_));
}
