// global_norm on CUDA: a fixed number of blocks per tensor leave a partial sum each, one block adds them up
// in order, so the result is the same in every run. One read per element, of 128 bits at a time.
#include "../rows/global_norm.h"

#include "team.cuh"

namespace gpt2x::cuda {
namespace {

constexpr int kTensorsPerLaunch = 64;
constexpr int kBlocksPerTensor = 64;
constexpr int kThreads = 256;

// Travels as a kernel argument (at most 4 KiB).
struct Tensors {
  const void* data[kTensorsPerLaunch];
  int64_t sizes[kTensorsPerLaunch];
  int dtypes[kTensorsPerLaunch];
  bool aligned[kTensorsPerLaunch];
};
static_assert(sizeof(Tensors) <= 2048);

// Walks slices of 16 elements a thread; float within a slice's lanes, double from there on.
template <class Team, class T>
__device__ double lane_squares(const Team& team, const T* x, int64_t n) {
  constexpr int64_t kSlice = kThreads * 16;
  double total = 0;
  for (int64_t begin = blockIdx.x * kSlice; begin < n; begin += gridDim.x * kSlice) {
    const int64_t length = n - begin < kSlice ? n - begin : kSlice;
    total += rows::sum_of_squares(team, x + begin, length);
  }
  return total;
}

template <class T>
__device__ double block_squares(const T* x, int64_t n, bool aligned) {
  using Packs = Block<rows::kPackOf<T>>;
  return Block<1>{}.sum(aligned ? lane_squares(Packs{}, x, n) : lane_squares(Block<1>{}, x, n));
}

__global__ void squares(Tensors tensors, double* partials) {
  const int tensor = blockIdx.y;
  const void* data = tensors.data[tensor];
  const int64_t n = tensors.sizes[tensor];
  const bool aligned = tensors.aligned[tensor];
  const double total = tensors.dtypes[tensor] == kFloat32
                           ? block_squares(static_cast<const float*>(data), n, aligned)
                           : block_squares(static_cast<const rows::bfloat16*>(data), n, aligned);
  if (threadIdx.x == 0) partials[static_cast<int64_t>(tensor) * gridDim.x + blockIdx.x] = total;
}

__global__ void root_of_sum(const double* partials, int64_t count, float* norm) {
  double mine = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) mine += partials[i];
  const double total = Block<1>{}.sum(mine);
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(total));
}

}  // namespace
}  // namespace gpt2x::cuda

// ----------------------------------------------------------------------------------------------------------------
// Launcher

using namespace gpt2x::cuda;

int64_t gpt2x_cuda_norm_blocks(void) {
  return kBlocksPerTensor;
}

int gpt2x_cuda_global_norm(int64_t count, const void* const* tensors, const int64_t* sizes, const int* dtypes,
                           double* partials, float* norm, void* stream) {
  for (int64_t first = 0; first < count; first += kTensorsPerLaunch) {
    const int64_t now = std::min<int64_t>(kTensorsPerLaunch, count - first);
    Tensors arguments{};
    for (int64_t i = 0; i < now; ++i) {
      if (dtypes[first + i] != kFloat32 && dtypes[first + i] != kBfloat16) return cudaErrorInvalidValue;
      arguments.data[i] = tensors[first + i];
      arguments.sizes[i] = sizes[first + i];
      arguments.dtypes[i] = dtypes[first + i];
      arguments.aligned[i] = gpt2x::rows::aligned_for_packs({tensors[first + i]});
    }
    squares<<<dim3(kBlocksPerTensor, static_cast<unsigned>(now)), kThreads, 0, as_stream(stream)>>>(
        arguments, partials + first * kBlocksPerTensor);
  }
  root_of_sum<<<1, kThreads, 0, as_stream(stream)>>>(partials, count * kBlocksPerTensor, norm);
  return cudaGetLastError();
}
