// y = f(x + bias) on CUDA for any activation f (rows/bias_activation.h): a block per row, one read and one
// write per element forward, two reads and one write backward. A thread takes 128 bits of a row at a time.
#pragma once

#include "../rows/bias_activation.h"
#include "team.cuh"

namespace gpt2x::cuda {
namespace {

template <class F, class Team, class T, class P>
__global__ void forward(const T* x, const P* bias, int64_t N, int64_t C, T* y) {
  for (int64_t n = blockIdx.x; n < N; n += gridDim.x)
    rows::bias_activation_row<F>(Team{}, x + n * C, bias, C, y + n * C);
}

template <class F, class Team, class T, class P>
__global__ void backward(const T* dy, const T* x, const P* bias, int64_t N, int64_t C, T* dx, float* partials,
                         bool in_shared) {
  extern __shared__ __align__(16) float shared[];
  float* out = bias != nullptr ? partials + static_cast<int64_t>(blockIdx.x) * C : nullptr;
  float* mine = in_shared ? shared : out;
  if (bias != nullptr) clear_partials(Team{}, mine, C);
  for (int64_t n = blockIdx.x; n < N; n += gridDim.x) {
    rows::bias_activation_backward_row<F>(Team{}, dy + n * C, x + n * C, bias, C, dx + n * C, mine);
  }
  if (bias != nullptr && in_shared) copy_partials(Team{}, mine, C, out);
}

// ----------------------------------------------------------------------------------------------------------------
// Launchers

template <class F>
int launch_bias_activation(int dtype, int parameter_dtype, const void* x, const void* bias, int64_t N,
                           int64_t C, void* y, void* stream) {
  if (N == 0 || C == 0) return cudaSuccess;
  return with_storage(dtype, parameter_dtype, [&](auto activation, auto parameter) -> int {
    using T = decltype(activation);
    using P = decltype(parameter);
    return with_team<T>(C, {x, bias, y}, [&](auto team) -> int {
      forward<F, decltype(team), T, P><<<blocks_for(N), threads_for(team, C, 256), 0, as_stream(stream)>>>(
          static_cast<const T*>(x), static_cast<const P*>(bias), N, C, static_cast<T*>(y));
      return cudaGetLastError();
    });
  });
}

template <class F>
int launch_bias_activation_backward(int dtype, int parameter_dtype, const void* dy, const void* x,
                                    const void* bias, int64_t N, int64_t C, void* dx, void* dbias,
                                    float* partials, int64_t num_blocks, void* stream) {
  if (num_blocks < 1 || (bias != nullptr && (dbias == nullptr || partials == nullptr)))
    return cudaErrorInvalidValue;
  if (C == 0) return cudaSuccess;
  return with_storage(dtype, parameter_dtype, [&](auto activation, auto parameter) -> int {
    using T = decltype(activation);
    using P = decltype(parameter);
    const size_t shared = bias != nullptr ? shared_bytes(C) : 0;
    const int error = with_team<T>(C, {dy, x, bias, dx, partials}, [&](auto team) -> int {
      backward<F, decltype(team), T, P>
          <<<static_cast<unsigned>(num_blocks), threads_for(team, C, 256), shared, as_stream(stream)>>>(
              static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<const P*>(bias), N, C,
              static_cast<T*>(dx), partials, shared != 0);
      return cudaGetLastError();
    });
    if (error != cudaSuccess) return error;
    if (bias != nullptr) {
      launch_sum_partials(partials, num_blocks, C, C, static_cast<P*>(dbias), as_stream(stream));
    }
    return cudaGetLastError();
  });
}

}  // namespace
}  // namespace gpt2x::cuda
