// add_layer_norm on CUDA: a block per row. Forward moves 4 elements per element (x, residual in; sum, y out;
// the second and third pass over the row hit L1/L2) and should approach the bandwidth of memory; backward
// moves 4 as well (dy, dsum, sum in; dx out). A thread takes 128 bits of a row at a time.
#include "../rows/add_layer_norm.h"

#include "team.cuh"

namespace gpt2x::cuda {
namespace {

template <class Team, class T, class P>
__global__ void forward(const T* x, const T* residual, const P* weight, const P* bias, int64_t N, int64_t C,
                        float eps, T* sum, T* y, float* mean, float* rstd) {
  for (int64_t n = blockIdx.x; n < N; n += gridDim.x) {
    rows::add_layer_norm_row(Team{}, x + n * C, residual != nullptr ? residual + n * C : nullptr, weight,
                             bias, C, eps, residual != nullptr ? sum + n * C : nullptr, y + n * C, mean + n,
                             rstd + n);
  }
}

// Each block walks the rows block, block + gridDim.x, … and sums its share of dweight and dbias, in shared
// memory where they fit, else at their place in `partials`.
template <class Team, class T, class P>
__global__ void backward(const T* dy, const T* dsum, const T* sum, const P* weight, const float* mean,
                         const float* rstd, int64_t N, int64_t C, T* dx, float* partials, bool in_shared) {
  extern __shared__ __align__(16) float shared[];
  float* out = partials + static_cast<int64_t>(blockIdx.x) * 2 * C;
  float* mine = in_shared ? shared : out;
  clear_partials(Team{}, mine, C);
  clear_partials(Team{}, mine + C, C);
  for (int64_t n = blockIdx.x; n < N; n += gridDim.x) {
    rows::add_layer_norm_backward_row(Team{}, dy + n * C, dsum != nullptr ? dsum + n * C : nullptr,
                                      sum + n * C, weight, mean[n], rstd[n], C, dx + n * C, mine, mine + C);
  }
  if (!in_shared) return;
  copy_partials(Team{}, mine, C, out);
  copy_partials(Team{}, mine + C, C, out + C);
}

}  // namespace
}  // namespace gpt2x::cuda

// ----------------------------------------------------------------------------------------------------------------
// Launchers

using namespace gpt2x::cuda;

int gpt2x_cuda_add_layer_norm(int dtype, int parameter_dtype, const void* x, const void* residual,
                              const void* weight, const void* bias, int64_t N, int64_t C, double eps,
                              void* sum, void* y, float* mean, float* rstd, void* stream) {
  if (N == 0) return cudaSuccess;
  return with_storage(dtype, parameter_dtype, [&](auto activation, auto parameter) -> int {
    using T = decltype(activation);
    using P = decltype(parameter);
    return with_team<T>(C, {x, residual, weight, bias, sum, y}, [&](auto team) -> int {
      forward<decltype(team), T, P><<<blocks_for(N), threads_for(team, C, 256), 0, as_stream(stream)>>>(
          static_cast<const T*>(x), static_cast<const T*>(residual), static_cast<const P*>(weight),
          static_cast<const P*>(bias), N, C, static_cast<float>(eps), static_cast<T*>(sum),
          static_cast<T*>(y), mean, rstd);
      return cudaGetLastError();
    });
  });
}

int gpt2x_cuda_add_layer_norm_backward(int dtype, int parameter_dtype, const void* dy, const void* dsum,
                                       const void* sum, const void* weight, const float* mean,
                                       const float* rstd, int64_t N, int64_t C, void* dx, void* dweight,
                                       void* dbias, float* partials, int64_t num_blocks, void* stream) {
  if (num_blocks < 1) return cudaErrorInvalidValue;
  return with_storage(dtype, parameter_dtype, [&](auto activation, auto parameter) -> int {
    using T = decltype(activation);
    using P = decltype(parameter);
    const size_t shared = shared_bytes(2 * C);
    const int error = with_team<T>(C, {dy, dsum, sum, weight, dx, partials}, [&](auto team) -> int {
      backward<decltype(team), T, P>
          <<<static_cast<unsigned>(num_blocks), threads_for(team, C, 256), shared, as_stream(stream)>>>(
              static_cast<const T*>(dy), static_cast<const T*>(dsum), static_cast<const T*>(sum),
              static_cast<const P*>(weight), mean, rstd, N, C, static_cast<T*>(dx), partials, shared != 0);
      return cudaGetLastError();
    });
    if (error != cudaSuccess) return error;
    launch_sum_partials(partials, num_blocks, 2 * C, C, static_cast<P*>(dweight), as_stream(stream));
    if (dbias != nullptr) {
      launch_sum_partials(partials + C, num_blocks, 2 * C, C, static_cast<P*>(dbias), as_stream(stream));
    }
    return cudaGetLastError();
  });
}
