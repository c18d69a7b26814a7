// adamw_ on CUDA: up to 32 tensors in one launch, their addresses as kernel arguments. 28 bytes of memory
// traffic per float32 parameter (four reads, three writes), and as many with a bfloat16 gradient and a
// bfloat16 copy of the parameter, 128 bits at a time. The clip factor is computed from the norm on the
// device, and so are the numbers of a step whose count and learning rate stand there, so the host never waits
// for them.
#include "../rows/adamw.h"

#include <type_traits>

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
  rows::bfloat16* bf16_params[kTensorsPerLaunch];
  int64_t sizes[kTensorsPerLaunch];
  double weight_decay[kTensorsPerLaunch];
  bool aligned[kTensorsPerLaunch];
};
static_assert(sizeof(Tensors) <= 2048);

// What all tensors of a step share.
struct Numbers {
  rows::AdamwStep<float> step;
  double lr;
};
static_assert(sizeof(Numbers) <= GPT2X_CUDA_ADAMW_SCRATCH_BYTES);

GPT2X_HD Numbers numbers_of(double count, double lr, double beta1, double beta2, double eps) {
  return {rows::cast_step<float>(rows::adamw_step(count, lr, beta1, beta2, eps)), lr};
}

// One thread; the powers would cost more than the update if every thread raised them.
__global__ void prepare(const double* count_and_lr, double beta1, double beta2, double eps,
                        Numbers* numbers) {
  if (threadIdx.x == 0) *numbers = numbers_of(count_and_lr[0], count_and_lr[1], beta1, beta2, eps);
}

template <bool kBf16Param, class P, class G, class S, class Team>
__device__ void update_tensor(const Team& team, const Tensors& tensors, int t, const Numbers& numbers,
                              float clip) {
  const int64_t n = tensors.sizes[t];
  const float shrink = static_cast<float>(1.0 - numbers.lr * tensors.weight_decay[t]);
  for (int64_t begin = blockIdx.x * kSlice; begin < n; begin += gridDim.x * kSlice) {
    rows::adamw_span<kBf16Param>(
        team, static_cast<P*>(tensors.params[t]) + begin, static_cast<const G*>(tensors.grads[t]) + begin,
        static_cast<S*>(tensors.exp_avgs[t]) + begin, static_cast<S*>(tensors.exp_avg_sqs[t]) + begin,
        kBf16Param ? tensors.bf16_params[t] + begin : nullptr, n - begin < kSlice ? n - begin : kSlice,
        numbers.step, shrink, clip);
  }
}

// `on_device`, where it is not null, stands for `given`.
template <bool kBf16Param, class P, class G, class S>
__global__ void update(const __grid_constant__ Tensors tensors, Numbers given, const Numbers* on_device,
                       const float* grad_norm, float max_norm) {
  if (grad_norm != nullptr && rows::is_refused(*grad_norm)) return;
  constexpr bool kHasBf16 = kBf16Param || sizeof(G) == sizeof(rows::bfloat16);
  constexpr int kPack = kHasBf16 ? rows::kPackOf<rows::bfloat16> : rows::kPackOf<P>;
  const int t = blockIdx.y;
  const Numbers numbers = on_device != nullptr ? *on_device : given;
  const float clip = grad_norm != nullptr ? rows::clip_factor(*grad_norm, max_norm) : 1.0f;
  if (tensors.aligned[t]) {
    update_tensor<kBf16Param, P, G, S>(Block<kPack>{}, tensors, t, numbers, clip);
  } else {
    update_tensor<kBf16Param, P, G, S>(Block<1>{}, tensors, t, numbers, clip);
  }
}

// Calls f with the types of a parameter, its gradient and its moments, and whether a bfloat16 copy follows
// it.
template <class F>
int with_types(int dtype, int grad_dtype, int moment_dtype, bool has_bf16_params, const F& f) {
  using bfloat16 = rows::bfloat16;
  using Yes = std::true_type;
  using No = std::false_type;
  if (dtype == kFloat32 && moment_dtype == kFloat32) {
    if (grad_dtype == kFloat32)
      return has_bf16_params ? f(float{}, float{}, float{}, Yes{}) : f(float{}, float{}, float{}, No{});
    if (grad_dtype == kBfloat16)
      return has_bf16_params ? f(float{}, bfloat16{}, float{}, Yes{}) : f(float{}, bfloat16{}, float{}, No{});
  }
  if (dtype != kBfloat16 || grad_dtype != kBfloat16 || has_bf16_params) return cudaErrorInvalidValue;
  if (moment_dtype == kBfloat16) return f(bfloat16{}, bfloat16{}, bfloat16{}, No{});
  if (moment_dtype == kFloat32) return f(bfloat16{}, bfloat16{}, float{}, No{});
  return cudaErrorInvalidValue;
}

}  // namespace
}  // namespace gpt2x::cuda

// ----------------------------------------------------------------------------------------------------------------
// Launcher

using namespace gpt2x::cuda;

int gpt2x_cuda_adamw(int dtype, int grad_dtype, int moment_dtype, int64_t count, void* const* params,
                     const void* const* grads, void* const* exp_avgs, void* const* exp_avg_sqs,
                     void* const* bf16_params, const int64_t* sizes, const double* weight_decay, int64_t step,
                     double lr, const double* step_and_lr, void* scratch, double beta1, double beta2,
                     double eps, const float* grad_norm, double max_norm, void* stream) {
  if (step_and_lr == nullptr ? step < 1 : scratch == nullptr) return cudaErrorInvalidValue;
  Numbers numbers{};
  auto* const on_device = step_and_lr != nullptr ? static_cast<Numbers*>(scratch) : nullptr;
  if (on_device != nullptr) {
    prepare<<<1, kWarp, 0, as_stream(stream)>>>(step_and_lr, beta1, beta2, eps, on_device);
  } else {
    numbers = numbers_of(static_cast<double>(step), lr, beta1, beta2, eps);
  }
  for (int64_t first = 0; first < count; first += kTensorsPerLaunch) {
    const int64_t now = std::min<int64_t>(kTensorsPerLaunch, count - first);
    Tensors arguments{};
    int64_t largest = 0;
    for (int64_t i = 0; i < now; ++i) {
      void* const bf16_param = bf16_params != nullptr ? bf16_params[first + i] : nullptr;
      arguments.params[i] = params[first + i];
      arguments.grads[i] = grads[first + i];
      arguments.exp_avgs[i] = exp_avgs[first + i];
      arguments.exp_avg_sqs[i] = exp_avg_sqs[first + i];
      arguments.bf16_params[i] = static_cast<gpt2x::rows::bfloat16*>(bf16_param);
      arguments.sizes[i] = sizes[first + i];
      arguments.weight_decay[i] = weight_decay[first + i];
      arguments.aligned[i] = gpt2x::rows::aligned_for_packs(
          {params[first + i], grads[first + i], exp_avgs[first + i], exp_avg_sqs[first + i], bf16_param});
      largest = std::max(largest, sizes[first + i]);
    }
    if (largest == 0) continue;
    const auto blocks = static_cast<unsigned>(std::min(kMaxBlocksPerTensor, (largest + kSlice - 1) / kSlice));
    const auto launch = [&](auto parameter, auto gradient, auto moment, auto has_bf16_param) -> int {
      update<decltype(has_bf16_param)::value, decltype(parameter), decltype(gradient), decltype(moment)>
          <<<dim3(blocks, static_cast<unsigned>(now)), kThreads, 0, as_stream(stream)>>>(
              arguments, numbers, on_device, grad_norm, static_cast<float>(max_norm));
      return cudaGetLastError();
    };
    const int error = with_types(dtype, grad_dtype, moment_dtype, bf16_params != nullptr, launch);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}
