// The row functions run by a team of several threads, as a GPU's block runs them: lanes own columns,
// reductions and sync() are barriers. test_rows.py compiles this and compares with plain torch, so that the
// arithmetic that a GPU will execute is tested where there is none.
#include <barrier>
#include <cstdint>
#include <thread>
#include <vector>

#include "rows/adamw.h"
#include "rows/add_layer_norm.h"
#include "rows/bias_gelu.h"
#include "rows/global_norm.h"
#include "rows/linear_cross_entropy.h"

namespace {

using gpt2x::rows::bfloat16;

struct Shared {
  explicit Shared(int size) : barrier(size), slots(size) {}
  std::barrier<> barrier;
  std::vector<double> slots;
};

class Crowd {
 public:
  Crowd(Shared* shared, int64_t lane) : shared_(shared), lane_(lane) {}
  int64_t lane() const { return lane_; }
  int64_t stride() const { return static_cast<int64_t>(shared_->slots.size()); }
  void sync() const { shared_->barrier.arrive_and_wait(); }
  template <class W>
  W sum(W partial) const {
    return reduce(partial, [](double a, double b) { return a + b; });
  }
  template <class W>
  W max(W partial) const {
    return reduce(partial, [](double a, double b) { return a > b ? a : b; });
  }

 private:
  template <class W, class F>
  W reduce(W partial, const F& combine) const {
    sync();
    shared_->slots[lane_] = partial;
    sync();
    double total = shared_->slots[0];
    for (size_t i = 1; i < shared_->slots.size(); ++i) total = combine(total, shared_->slots[i]);
    return static_cast<W>(total);
  }

  Shared* shared_;
  int64_t lane_;
};

template <class F>
void with_crowd(int size, const F& f) {
  Shared shared(size);
  std::vector<std::thread> threads;
  for (int lane = 0; lane < size; ++lane) threads.emplace_back([&, lane] { f(Crowd(&shared, lane)); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

extern "C" {

void crowd_add_layer_norm(int size, const float* x, const float* residual, const float* weight,
                          const float* bias, int64_t C, float eps, float* sum, float* y, float* mean,
                          float* rstd) {
  with_crowd(size, [=](const Crowd& team) {
    gpt2x::rows::add_layer_norm_row(team, x, residual, weight, bias, C, eps, sum, y, mean, rstd);
  });
}

void crowd_add_layer_norm_backward(int size, const float* dy, const float* dsum, const float* sum,
                                   const float* weight, float mean, float rstd, int64_t C, float* dx,
                                   float* dweight, float* dbias) {
  with_crowd(size, [=](const Crowd& team) {
    gpt2x::rows::add_layer_norm_backward_row(team, dy, dsum, sum, weight, mean, rstd, C, dx, dweight, dbias);
  });
}

void crowd_bias_gelu(int size, const float* x, const float* bias, const float* dy, int64_t C, float* y,
                     float* dx, float* dbias) {
  with_crowd(size, [=](const Crowd& team) {
    gpt2x::rows::bias_gelu_row(team, x, bias, C, y);
    gpt2x::rows::bias_gelu_backward_row(team, dy, x, bias, C, dx, dbias);
  });
}

float crowd_cross_entropy(int size, float* logits, int64_t V, int64_t Vp, int64_t target,
                          float label_smoothing, float z_loss, float scale, int write_gradient) {
  float loss = 0;
  with_crowd(size, [&](const Crowd& team) {
    const gpt2x::rows::CrossEntropyTerms<float> terms{label_smoothing, z_loss};
    const float mine =
        gpt2x::rows::cross_entropy_row(team, logits, V, Vp, target, terms, scale, write_gradient != 0);
    if (team.lane() == 0) loss = mine;
  });
  return loss;
}

void crowd_adamw(int size, float* param, const float* grad, float* exp_avg, float* exp_avg_sq, int64_t n,
                 int64_t step, double lr, double beta1, double beta2, double eps, float shrink, float norm,
                 float max_norm) {
  const auto shared = gpt2x::rows::cast_step<float>(gpt2x::rows::adamw_step(step, lr, beta1, beta2, eps));
  with_crowd(size, [=](const Crowd& team) {
    gpt2x::rows::adamw_span<false>(team, param, grad, exp_avg, exp_avg_sq, nullptr, n, shared, shrink,
                                   gpt2x::rows::clip_factor(norm, max_norm));
  });
}

double crowd_squares(int size, const float* x, int64_t n) {
  double total = 0;
  with_crowd(size, [&](const Crowd& team) {
    const double all = team.sum(static_cast<double>(gpt2x::rows::sum_of_squares(team, x, n)));
    if (team.lane() == 0) total = all;
  });
  return total;
}

// For the tests of rounding and of the exponential.
void round_to_bfloat16(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint16_t>(gpt2x::rows::narrow<bfloat16>(x[i]));
}

void exponentials(const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = gpt2x::rows::exponential(x[i]);
}
}
