// adamw_ on CUDA: up to 32 tensors in one launch, their addresses as kernel arguments. 28 bytes of memory
// traffic per float32 parameter, 128 bits at a time; the clip factor is computed from the norm on the device,
// so the host never waits for it.
#include "../rows/adamw.h"

#include "team.cuh"

namespace gpt2x::cuda {
namespace {

constexpr int kTensorsPerLaunch = 32;
constexpr int kThreads = 256;
constexpr int64_t kSlice = kThreads * 8;
constexpr int64_t kMaxBlocksPerTensor = 1024;

// Travels as a kernel argument (at most 4 KiB).
struct Tensors {
  void* params[kTensorsPerLaunch];
  const void* grads[kTensorsPerLaunch];
  void* exp_avgs[kTensorsPerLaunch];
  void* exp_avg_sqs[kTensorsPerLaunch];
  int64_t sizes[kTensorsPerLaunch];
  float shrink[kTensorsPerLaunch];
  bool aligned[kTensorsPerLaunch];
};
static_assert(sizeof(Tensors) <= 2048);

template <class P, class S, class Team>
__device__ void update_tensor(const Team& team, const Tensors& tensors, int t,
                              const rows::AdamwStep<float>& step, float clip) {
  const int64_t n = tensors.sizes[t];
  for (int64_t begin = blockIdx.x * kSlice; begin < n; begin += gridDim.x * kSlice) {
    rows::adamw_span<false>(
        team, static_cast<P*>(tensors.params[t]) + begin, static_cast<const P*>(tensors.grads[t]) + begin,
        static_cast<S*>(tensors.exp_avgs[t]) + begin, static_cast<S*>(tensors.exp_avg_sqs[t]) + begin,
        nullptr, n - begin < kSlice ? n - begin : kSlice, step, tensors.shrink[t], clip);
  }
}

template <class P, class S>
__global__ void update(const __grid_constant__ Tensors tensors, rows::AdamwStep<float> step,
                       const float* grad_norm, float max_norm) {
  const int t = blockIdx.y;
  const float clip = grad_norm != nullptr ? rows::clip_factor(*grad_norm, max_norm) : 1.0f;
  if (tensors.aligned[t]) {
    update_tensor<P, S>(Block<rows::kPackOf<P>>{}, tensors, t, step, clip);
  } else {
    update_tensor<P, S>(Block<1>{}, tensors, t, step, clip);
  }
}

}  // namespace
}  // namespace gpt2x::cuda

// ----------------------------------------------------------------------------------------------------------------
// Launcher

using namespace gpt2x::cuda;

int gpt2x_cuda_adamw(int dtype, int moment_dtype, int64_t count, void* const* params,
                     const void* const* grads, void* const* exp_avgs, void* const* exp_avg_sqs,
                     const int64_t* sizes, const double* weight_decay, int64_t step, double lr, double beta1,
                     double beta2, double eps, const float* grad_norm, double max_norm, void* stream) {
  if (step < 1) return cudaErrorInvalidValue;
  const auto shared = gpt2x::rows::cast_step<float>(gpt2x::rows::adamw_step(step, lr, beta1, beta2, eps));
  for (int64_t first = 0; first < count; first += kTensorsPerLaunch) {
    const int64_t now = std::min<int64_t>(kTensorsPerLaunch, count - first);
    Tensors arguments{};
    int64_t largest = 0;
    for (int64_t i = 0; i < now; ++i) {
      arguments.params[i] = params[first + i];
      arguments.grads[i] = grads[first + i];
      arguments.exp_avgs[i] = exp_avgs[first + i];
      arguments.exp_avg_sqs[i] = exp_avg_sqs[first + i];
      arguments.sizes[i] = sizes[first + i];
      arguments.aligned[i] = gpt2x::rows::aligned_for_packs(
          {params[first + i], grads[first + i], exp_avgs[first + i], exp_avg_sqs[first + i]});
      arguments.shrink[i] = static_cast<float>(1.0 - lr * weight_decay[first + i]);
      largest = std::max(largest, sizes[first + i]);
    }
    if (largest == 0) continue;
    const auto blocks = static_cast<unsigned>(std::min(kMaxBlocksPerTensor, (largest + kSlice - 1) / kSlice));
    const int error = with_storage(dtype, moment_dtype, [&](auto parameter, auto moment) -> int {
      update<decltype(parameter), decltype(moment)>
          <<<dim3(blocks, static_cast<unsigned>(now)), kThreads, 0, as_stream(stream)>>>(
              arguments, shared, grad_norm, static_cast<float>(max_norm));
      return cudaGetLastError();
    });
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}
