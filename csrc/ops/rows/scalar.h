// Numbers as the operators see them: how they are stored, in what they are computed, and the exponential.
//
// Storage may be float, bfloat16 or double; sums and statistics are float for the first two and double for
// the last, the accumulation dtype. Everything here compiles for the host and, under nvcc, for the device.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define GPT2X_HD __host__ __device__ __forceinline__
// Not unrolled: what packs (pack.h) leave of a row is short, and copies of the loop only cost registers (80
// instead of 56 in linear_cross_entropy on sm_80, so one block instead of two on a multiprocessor).
#define GPT2X_SIMD _Pragma("unroll 1")
#define GPT2X_SIMD_SUM(...) _Pragma("unroll 1")
#define GPT2X_SIMD_MAX(...) _Pragma("unroll 1")
#else
// Inlined by force, so that each instruction-set clone of a caller (cpu/clones.h) compiles its own copy of a
// row.
#define GPT2X_HD inline __attribute__((always_inline))
#define GPT2X_PRAGMA(text) _Pragma(#text)
#define GPT2X_SIMD GPT2X_PRAGMA(omp simd)
#define GPT2X_SIMD_SUM(...) GPT2X_PRAGMA(omp simd reduction(+ : __VA_ARGS__))
#define GPT2X_SIMD_MAX(...) GPT2X_PRAGMA(omp simd reduction(max : __VA_ARGS__))
#endif

namespace gpt2x::rows {

// The upper half of a float: 8 exponent bits, 7 of mantissa. Layout-compatible with torch's and CUDA's own
// types. An enum and not a struct, because compilers vectorise loops over arrays of scalars only.
enum class bfloat16 : uint16_t {};

template <class T>
struct AccumulationOf {
  using type = float;
};
template <>
struct AccumulationOf<double> {
  using type = double;
};
template <class T>
using Accumulation = typename AccumulationOf<T>::type;

GPT2X_HD uint32_t bits_of(float x) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(x);
#else
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
#endif
}

GPT2X_HD float float_of(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
#endif
}

GPT2X_HD float to_accumulation(float x) {
  return x;
}
GPT2X_HD double to_accumulation(double x) {
  return x;
}
GPT2X_HD float to_accumulation(bfloat16 x) {
  return float_of(static_cast<uint32_t>(x) << 16);
}
// An int8 weight is the number that it stands for before its row's scale.
GPT2X_HD float to_accumulation(int8_t x) {
  return static_cast<float>(x);
}

// Rounds to the storage type: bfloat16 to nearest, ties to even; a NaN stays a NaN.
template <class T>
GPT2X_HD T to_storage(Accumulation<T> x) {
  return x;
}
template <>
GPT2X_HD bfloat16 to_storage<bfloat16>(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quiet_nan = (bits >> 16) | 0x40u;
  return static_cast<bfloat16>((bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded);
}

// A number of any storage type in the accumulation dtype of another (float32 parameters beside bfloat16
// activations).
template <class W, class T>
GPT2X_HD W convert_to(T x) {
  return static_cast<W>(to_accumulation(x));
}

GPT2X_HD double exponential(double x) {
  return exp(x);
}

// e^x within 2 units in the last place; 0 below -87.3 (where the result would be subnormal), infinity
// above 88.3. On the host: x = n ln 2 + r by Cody and Waite's two-part ln 2, then Cephes' degree-6 polynomial
// on |r| <= ln 2 / 2, all of it plain arithmetic that vectorises, where libm's expf is a call for every
// element.
GPT2X_HD float exponential(float x) {
#if defined(__CUDA_ARCH__)
  return expf(x);
#else
  constexpr float kLowest = -87.3f, kHighest = 88.3f;
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  float inside = x < kLowest ? kLowest : x;  // this order of operands keeps a NaN
  inside = inside > kHighest ? kHighest : inside;
  const float shifted = inside * 1.44269504f + kRounder;
  const float n = shifted - kRounder;
  const float r = (inside - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float power_of_two = float_of((bits_of(shifted) - bits_of(kRounder) + 127u) << 23);
  const float y = (p * r * r + r + 1.0f) * power_of_two;
  return x < kLowest ? 0.0f : (x > kHighest ? INFINITY : y);
#endif
}

}  // namespace gpt2x::rows
