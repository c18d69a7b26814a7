// The product of one weight row with one vector, the unit of work of a matrix-vector product.
#pragma once

#include "team.h"

namespace gpt2x::rows {

// An int8 weight widens to the number it stands for, before its row's scale.
GPT2X_HD float to_accumulation(int8_t x) {
  return static_cast<float>(x);
}

// sum_i weight[i] * x[i] over this lane's elements; the caller adds the lanes up.
template <class W, class Team, class P, class T>
GPT2X_HD W dot(const Team& team, const P* weight, const T* x, int64_t n) {
  W total = 0;
  GPT2X_SIMD_SUM(total)
  for (int64_t i = team.lane(); i < n; i += team.stride()) {
    total += static_cast<W>(to_accumulation(weight[i])) * static_cast<W>(to_accumulation(x[i]));
  }
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

}  // namespace gpt2x::rows
