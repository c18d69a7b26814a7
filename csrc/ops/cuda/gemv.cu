// gemv on CUDA: a warp per row of the weight. What it takes is the time of reading the weight once: 4, 2 or 1
// bytes an element in float32, bfloat16 and int8, 128 bits at a time, so it should approach the bandwidth of
// memory. x has few vectors and stays in L1; a weight is read and widened once for up to four of them. There
// is no barrier.
#include "../rows/gemv.h"

#include <type_traits>

#include "team.cuh"

namespace gpt2x::cuda {
namespace {

constexpr int kWarpsPerBlock =
    4;  // few, so that the 768 rows of GPT-2's smallest matrix reach every multiprocessor

// y[n][o] for the vectors n, n + 1, n + 2 and n + 3 as far as there are so many; a warp computes the last one
// in place of one that is not there, so that its lanes stay together.
template <class Team, class P, class T>
__device__ void dot_four(const Team& warp, const T* x, int64_t n, int64_t N, const P* row, int64_t I,
                         int64_t O, int64_t o, const float* scale, const T* bias, T* y) {
  const auto vector = [=](int64_t k) { return x + (n + k < N ? n + k : N - 1) * I; };
  const rows::Four<float> mine =
      rows::four_dots<float>(warp, row, vector(0), vector(1), vector(2), vector(3), I);
  const float sums[4] = {warp.sum(mine.first), warp.sum(mine.second), warp.sum(mine.third),
                         warp.sum(mine.fourth)};
  if (warp.lane() != 0) return;
  for (int k = 0; k < 4; ++k) {
    if (n + k < N) y[(n + k) * O + o] = rows::gemv_element(sums[k], scale, bias, o);
  }
}

template <class Team, class P, class T>
__global__ void dot_rows(const T* x, int64_t N, const P* weight, int64_t I, int64_t O, const float* scale,
                         const T* bias, T* y) {
  const Team warp;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.x / kWarp;
  for (int64_t o = first; o < O; o += static_cast<int64_t>(gridDim.x) * kWarpsPerBlock) {
    const P* row = weight + o * I;
    if (N == 1) {
      const float sum = warp.sum(rows::dot<float>(warp, row, x, I));
      if (warp.lane() == 0) y[o] = rows::gemv_element(sum, scale, bias, o);
      continue;
    }
    for (int64_t n = 0; n < N; n += 4) dot_four(warp, x, n, N, row, I, O, o, scale, bias, y);
  }
}

// Calls f with values of the C++ types of x and of the weight beside it.
template <class F>
int with_types(int dtype, int weight_dtype, const F& f) {
  using bfloat16 = rows::bfloat16;
  if (dtype == kFloat32) {
    if (weight_dtype == kFloat32) return f(float{}, float{});
    if (weight_dtype == kBfloat16) return f(float{}, bfloat16{});
    if (weight_dtype == kInt8) return f(float{}, int8_t{});
  }
  if (dtype == kBfloat16) {
    if (weight_dtype == kFloat32) return f(bfloat16{}, float{});
    if (weight_dtype == kBfloat16) return f(bfloat16{}, bfloat16{});
    if (weight_dtype == kInt8) return f(bfloat16{}, int8_t{});
  }
  return cudaErrorInvalidValue;
}

}  // namespace
}  // namespace gpt2x::cuda

// ----------------------------------------------------------------------------------------------------------------
// Launcher

using namespace gpt2x::cuda;

int gpt2x_cuda_gemv(int dtype, int weight_dtype, const void* x, const void* weight, const float* scale,
                    const void* bias, int64_t N, int64_t I, int64_t O, void* y, void* stream) {
  if (N == 0 || O == 0) return cudaSuccess;
  if ((weight_dtype == kInt8) != (scale != nullptr)) return cudaErrorInvalidValue;
  return with_types(dtype, weight_dtype, [&](auto activation, auto stored) -> int {
    using T = decltype(activation);
    using P = decltype(stored);
    using Narrow = std::conditional_t<(sizeof(P) < sizeof(T)), P, T>;
    return with_team<Narrow>(I, {x, weight}, [&](auto team) -> int {
      const unsigned blocks = blocks_for((O + kWarpsPerBlock - 1) / kWarpsPerBlock);
      dot_rows<Lanes<decltype(team)::kPack>, P, T><<<blocks, kWarpsPerBlock * kWarp, 0, as_stream(stream)>>>(
          static_cast<const T*>(x), N, static_cast<const P*>(weight), I, O, scale,
          static_cast<const T*>(bias), static_cast<T*>(y));
      return cudaGetLastError();
    });
  });
}
