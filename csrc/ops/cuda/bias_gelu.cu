// bias_gelu on CUDA: a block per row, one read and one write per element forward, two reads and one write
// backward.
#include "../rows/bias_gelu.h"

#include "team.cuh"

namespace gpt2x::cuda {
namespace {

template <class T, class P>
__global__ void forward(const T* x, const P* bias, int64_t N, int64_t C, T* y) {
  for (int64_t n = blockIdx.x; n < N; n += gridDim.x)
    rows::bias_gelu_row(Block{}, x + n * C, bias, C, y + n * C);
}

template <class T, class P>
__global__ void backward(const T* dy, const T* x, const P* bias, int64_t N, int64_t C, T* dx, float* partials,
                         bool in_shared) {
  extern __shared__ float shared[];
  float* out = bias != nullptr ? partials + static_cast<int64_t>(blockIdx.x) * C : nullptr;
  float* mine = in_shared ? shared : out;
  // A thread touches only the columns it owns, here and in the row function: no barrier is needed.
  if (bias != nullptr) {
    for (int64_t i = threadIdx.x; i < C; i += blockDim.x) mine[i] = 0;
  }
  for (int64_t n = blockIdx.x; n < N; n += gridDim.x) {
    rows::bias_gelu_backward_row(Block{}, dy + n * C, x + n * C, bias, C, dx + n * C, mine);
  }
  if (bias == nullptr || !in_shared) return;
  for (int64_t i = threadIdx.x; i < C; i += blockDim.x) out[i] = mine[i];
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
    forward<T, P><<<blocks_for(N), threads_for(C, 256), 0, as_stream(stream)>>>(
        static_cast<const T*>(x), static_cast<const P*>(bias), N, C, static_cast<T*>(y));
    return cudaGetLastError();
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
    backward<T, P><<<static_cast<unsigned>(num_blocks), threads_for(C, 256), shared, as_stream(stream)>>>(
        static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<const P*>(bias), N, C,
        static_cast<T*>(dx), partials, shared != 0);
    if (bias != nullptr) {
      launch_sum_partials(partials, num_blocks, C, C, static_cast<P*>(dbias), as_stream(stream));
    }
    return cudaGetLastError();
  });
}
