// bias_gelu on CUDA: a block per row, one read and one write per element forward, two reads and one write
// backward. A thread takes 128 bits of a row at a time.
#include "../rows/bias_gelu.h"

#include "team.cuh"

namespace gpt2x::cuda {
namespace {

template <class Team, class T, class P>
__global__ void forward(const T* x, const P* bias, int64_t N, int64_t C, T* y) {
  for (int64_t n = blockIdx.x; n < N; n += gridDim.x)
    rows::bias_gelu_row(Team{}, x + n * C, bias, C, y + n * C);
}

template <class Team, class T, class P>
__global__ void backward(const T* dy, const T* x, const P* bias, int64_t N, int64_t C, T* dx, float* partials,
                         bool in_shared) {
  extern __shared__ __align__(16) float shared[];
  float* out = bias != nullptr ? partials + static_cast<int64_t>(blockIdx.x) * C : nullptr;
  float* mine = in_shared ? shared : out;
  if (bias != nullptr) clear_partials(Team{}, mine, C);
  for (int64_t n = blockIdx.x; n < N; n += gridDim.x) {
    rows::bias_gelu_backward_row(Team{}, dy + n * C, x + n * C, bias, C, dx + n * C, mine);
  }
  if (bias != nullptr && in_shared) copy_partials(Team{}, mine, C, out);
}

}  // namespace
}  // namespace gpt2x::cuda

// ----------------------------------------------------------------------------------------------------------------
// Launchers

using namespace gpt2x::cuda;

int gpt2x_cuda_bias_gelu(int dtype, int parameter_dtype, const void* x, const void* bias, int64_t N,
                         int64_t C, void* y, void* stream) {
  if (N == 0 || C == 0) return cudaSuccess;
  return with_storage(dtype, parameter_dtype, [&](auto activation, auto parameter) -> int {
    using T = decltype(activation);
    using P = decltype(parameter);
    return with_team<T>(C, {x, bias, y}, [&](auto team) -> int {
      forward<decltype(team), T, P><<<blocks_for(N), threads_for(team, C, 256), 0, as_stream(stream)>>>(
          static_cast<const T*>(x), static_cast<const P*>(bias), N, C, static_cast<T*>(y));
      return cudaGetLastError();
    });
  });
}

int gpt2x_cuda_bias_gelu_backward(int dtype, int parameter_dtype, const void* dy, const void* x,
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
      backward<decltype(team), T, P>
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
