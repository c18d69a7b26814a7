// The row functions run by a team of several threads, as a GPU's block runs them: lanes own packs of columns,
// reductions and sync() are barriers. test_rows.py compiles this and compares with plain torch, so that the
// arithmetic that a GPU will execute is tested where there is none.
//
// `storage` is 0 for float, 1 for bfloat16, 2 for bfloat16 activations beside float parameters; `pack` is the
// elements that a lane takes at a time: 1, 8, and with float 4.
#include <algorithm>
#include <barrier>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>

#include "rows/adamw.h"
#include "rows/add_layer_norm.h"
#include "rows/bias_gelu.h"
#include "rows/bias_relu2.h"
#include "rows/decode_attention.h"
#include "rows/global_norm.h"
#include "rows/linear_cross_entropy.h"

namespace {

using gpt2x::rows::bfloat16;

struct Shared {
  explicit Shared(int size) : barrier(size), slots(size) {}
  std::barrier<> barrier;
  std::vector<double> slots;
};

template <int K>
class Crowd {
 public:
  static constexpr int kPack = K;
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

template <int K, class F>
void run_crowd(int size, const F& f) {
  Shared shared(size);
  std::vector<std::thread> threads;
  for (int lane = 0; lane < size; ++lane) threads.emplace_back([&, lane] { f(Crowd<K>(&shared, lane)); });
  for (std::thread& thread : threads) thread.join();
}

// Runs f(team) with `size` threads that take packs of T.
template <class T, class F>
void with_crowd(int size, int pack, const F& f) {
  if (pack == 1) return run_crowd<1>(size, f);
  if (pack == 8) return run_crowd<8>(size, f);
  if constexpr (gpt2x::rows::kPackOf<T> == 4) {
    if (pack == 4) return run_crowd<4>(size, f);
  }
  std::abort();
}

// Calls f with values of the C++ types that store activations and parameters.
template <class F>
void with_storage(int storage, const F& f) {
  if (storage == 0) return f(float{}, float{});
  if (storage == 1) return f(bfloat16{}, bfloat16{});
  if (storage == 2) return f(bfloat16{}, float{});
  std::abort();
}

template <class T>
const T* in(const void* array) {
  return static_cast<const T*>(array);
}
template <class T>
T* out(void* array) {
  return static_cast<T*>(array);
}

template <class F>
void crowd_bias_activation(int size, int pack, int storage, const void* x, const void* bias, const void* dy,
                           int64_t C, void* y, void* dx, float* dbias) {
  with_storage(storage, [=](auto activation, auto parameter) {
    using T = decltype(activation);
    using P = decltype(parameter);
    with_crowd<T>(size, pack, [=](const auto& team) {
      gpt2x::rows::bias_activation_row<F>(team, in<T>(x), in<P>(bias), C, out<T>(y));
      gpt2x::rows::bias_activation_backward_row<F>(team, in<T>(dy), in<T>(x), in<P>(bias), C, out<T>(dx),
                                                   dbias);
    });
  });
}

}  // namespace

extern "C" {

void crowd_add_layer_norm(int size, int pack, int storage, const void* x, const void* residual,
                          const void* weight, const void* bias, int64_t C, float eps, void* sum, void* y,
                          float* mean, float* rstd) {
  with_storage(storage, [=](auto activation, auto parameter) {
    using T = decltype(activation);
    using P = decltype(parameter);
    with_crowd<T>(size, pack, [=](const auto& team) {
      gpt2x::rows::add_layer_norm_row(team, in<T>(x), in<T>(residual), in<P>(weight), in<P>(bias), C, eps,
                                      out<T>(sum), out<T>(y), mean, rstd);
    });
  });
}

void crowd_add_layer_norm_backward(int size, int pack, int storage, const void* dy, const void* dsum,
                                   const void* sum, const void* weight, float mean, float rstd, int64_t C,
                                   void* dx, float* dweight, float* dbias) {
  with_storage(storage, [=](auto activation, auto parameter) {
    using T = decltype(activation);
    using P = decltype(parameter);
    with_crowd<T>(size, pack, [=](const auto& team) {
      gpt2x::rows::add_layer_norm_backward_row(team, in<T>(dy), in<T>(dsum), in<T>(sum), in<P>(weight), mean,
                                               rstd, C, out<T>(dx), dweight, dbias);
    });
  });
}

void crowd_bias_gelu(int size, int pack, int storage, const void* x, const void* bias, const void* dy,
                     int64_t C, void* y, void* dx, float* dbias) {
  crowd_bias_activation<gpt2x::rows::Gelu>(size, pack, storage, x, bias, dy, C, y, dx, dbias);
}

void crowd_bias_relu2(int size, int pack, int storage, const void* x, const void* bias, const void* dy,
                      int64_t C, void* y, void* dx, float* dbias) {
  crowd_bias_activation<gpt2x::rows::Relu2>(size, pack, storage, x, bias, dy, C, y, dx, dbias);
}

float crowd_cross_entropy(int size, int pack, int storage, void* logits, int64_t V, int64_t Vp,
                          int64_t target, float label_smoothing, float z_loss, float scale,
                          int write_gradient) {
  float loss = 0;
  with_storage(storage, [&](auto activation, auto) {
    using T = decltype(activation);
    with_crowd<T>(size, pack, [&](const auto& team) {
      const gpt2x::rows::CrossEntropyTerms<float> terms{label_smoothing, z_loss};
      const float mine = gpt2x::rows::cross_entropy_row(team, out<T>(logits), V, Vp, target, terms, scale,
                                                        write_gradient != 0);
      if (team.lane() == 0) loss = mine;
    });
  });
  return loss;
}

void crowd_clear_row(int size, int pack, int storage, void* logits, int64_t Vp) {
  with_storage(storage, [=](auto activation, auto) {
    using T = decltype(activation);
    with_crowd<T>(size, pack, [=](const auto& team) { gpt2x::rows::clear_row(team, out<T>(logits), Vp); });
  });
}

void crowd_adamw(int size, int pack, int storage, void* param, const void* grad, void* exp_avg,
                 void* exp_avg_sq, int64_t n, int64_t step, double lr, double beta1, double beta2, double eps,
                 float shrink, float norm, float max_norm) {
  const auto shared = gpt2x::rows::cast_step<float>(gpt2x::rows::adamw_step(step, lr, beta1, beta2, eps));
  with_storage(storage, [=](auto parameter, auto moment) {
    using P = decltype(parameter);
    using S = decltype(moment);
    with_crowd<P>(size, pack, [=](const auto& team) {
      gpt2x::rows::adamw_span<false>(team, out<P>(param), in<P>(grad), out<S>(exp_avg), out<S>(exp_avg_sq),
                                     nullptr, n, shared, shrink, gpt2x::rows::clip_factor(norm, max_norm));
    });
  });
}

double crowd_squares(int size, int pack, int storage, const void* x, int64_t n) {
  double total = 0;
  with_storage(storage, [&](auto value, auto) {
    using T = decltype(value);
    with_crowd<T>(size, pack, [&](const auto& team) {
      const double all = team.sum(static_cast<double>(gpt2x::rows::sum_of_squares(team, in<T>(x), n)));
      if (team.lane() == 0) total = all;
    });
  });
  return total;
}

// out[0]: the product with x; the other four: those with x and the three vectors after it.
void crowd_dots(int size, int pack, int storage, const void* weight, const void* x, int64_t n, float* out) {
  with_storage(storage, [=](auto activation, auto parameter) {
    using T = decltype(activation);
    using P = decltype(parameter);
    with_crowd<T>(size, pack, [=](const auto& team) {
      const T* first = in<T>(x);
      const float one = team.sum(gpt2x::rows::dot<float>(team, in<P>(weight), first, n));
      const auto four = gpt2x::rows::four_dots<float>(team, in<P>(weight), first, first + n, first + 2 * n,
                                                      first + 3 * n, n);
      const float sums[5] = {one, team.sum(four.first), team.sum(four.second), team.sum(four.third),
                             team.sum(four.fourth)};
      if (team.lane() == 0) std::copy(sums, sums + 5, out);
    });
  });
}

// One head, its S tokens in parts of so many.
void crowd_decode_attention(int size, int pack, int storage, const void* query, const void* keys,
                            const void* values, int64_t S, int64_t D, int64_t tokens, float scale, void* y) {
  const int64_t count = (S + tokens - 1) / tokens;
  std::vector<gpt2x::rows::AttentionPart<float>> parts(count);
  std::vector<float> totals(count * D), scores(tokens);
  with_storage(storage, [&](auto activation, auto) {
    using T = decltype(activation);
    with_crowd<T>(size, pack, [&](const auto& team) {
      for (int64_t p = 0; p < count; ++p) {
        const int64_t first = p * tokens;
        const auto part = gpt2x::rows::decode_attention_part(
            team, in<T>(query), in<T>(keys) + first * D, D, in<T>(values) + first * D, D,
            std::min(tokens, S - first), D, scale, scores.data(), totals.data() + p * D);
        if (team.lane() == 0) parts[p] = part;
        team.sync();
      }
      gpt2x::rows::decode_attention_merge(team, parts.data(), totals.data(), count, D, out<T>(y));
    });
  });
}

int both_aligned_for_packs(const void* first, const void* second) {
  return gpt2x::rows::aligned_for_packs({first, second});
}

// For the tests of rounding and of the exponential.
void round_to_bfloat16(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint16_t>(gpt2x::rows::to_storage<bfloat16>(x[i]));
}

void exponentials(const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = gpt2x::rows::exponential(x[i]);
}
}
