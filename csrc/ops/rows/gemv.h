// The product of one weight row with one vector or four, the unit of work of a matrix-vector product.
#pragma once

#include "pack.h"

namespace gpt2x::rows {

// sum_i weight[i] * x[i] over this lane's elements; the caller adds the lanes up.
template <class W, class Team, class P, class T>
GPT2X_HD W dot(const Team& team, const P* weight, const T* x, int64_t n) {
  const auto product = [](P w, T e) { return convert_to<W>(w) * convert_to<W>(e); };
  return sum_each<W>(team, n, product, In<P>{weight}, In<T>{x});
}

// The same by one thread: the plain loop, of which g++ makes faster code than of the general one (3072 rows
// of 768 float32 in the caches of an AMD EPYC core: 135 instead of 150 us).
template <class W, class P, class T>
GPT2X_HD W dot(const SingleThread&, const P* weight, const T* x, int64_t n) {
  W total = 0;
  GPT2X_SIMD_SUM(total)
  for (int64_t i = 0; i < n; ++i) total += convert_to<W>(weight[i]) * convert_to<W>(x[i]);
  return total;
}

// The same by one thread for an int8 row, in 64 sums side by side: widening a byte takes so many steps that
// the compiler gives up on a single sum (124M weights on one Zen 5 core: 12.3 ms with one sum, 4.7 with 64;
// float and bfloat16 gain nothing by it).
template <class W, class T>
GPT2X_HD W dot(const SingleThread&, const int8_t* weight, const T* x, int64_t n) {
  constexpr int64_t kSums = 64;
  W sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    GPT2X_SIMD
    for (int64_t j = 0; j < kSums; ++j) {
      sums[j] += static_cast<W>(to_accumulation(weight[i + j])) * static_cast<W>(to_accumulation(x[i + j]));
    }
  }
  W total = 0;
  for (; i < n; ++i)
    total += static_cast<W>(to_accumulation(weight[i])) * static_cast<W>(to_accumulation(x[i]));
  GPT2X_SIMD_SUM(total)
  for (int64_t j = 0; j < kSums; ++j) total += sums[j];
  return total;
}

// The products of one row with four vectors, so that it is read once for all of them, and their sums overlap.
template <class W, class Team, class P, class T>
GPT2X_HD Four<W> four_dots(const Team& team, const P* weight, const T* x0, const T* x1, const T* x2,
                           const T* x3, int64_t n) {
  const auto products = [](P weight, T e0, T e1, T e2, T e3) {
    const W w = convert_to<W>(weight);
    return Four<W>{w * convert_to<W>(e0), w * convert_to<W>(e1), w * convert_to<W>(e2),
                   w * convert_to<W>(e3)};
  };
  return four_sums_each<W>(team, n, products, In<P>{weight}, In<T>{x0}, In<T>{x1}, In<T>{x2}, In<T>{x3});
}

// Element o of the result from the sum of its row: `scale` (nullable) is that of an int8 weight.
template <class T, class W>
GPT2X_HD T gemv_element(W sum, const float* scale, const T* bias, int64_t o) {
  if (scale != nullptr) sum *= static_cast<W>(scale[o]);
  if (bias != nullptr) sum += convert_to<W>(bias[o]);
  return to_storage<T>(sum);
}

}  // namespace gpt2x::rows
