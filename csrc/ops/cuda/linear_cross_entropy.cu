// The softmax, loss and in-place gradient of linear_cross_entropy on CUDA: a block per row of logits; torch's
// GEMMs stand before and after it (gpt2x/ops/linear_cross_entropy.py). Memory sees one read of the logits and
// one write of their gradient; a row of 50304 bfloat16 (98 KiB) stays in L2, largely in L1, between the three
// passes. A thread takes 128 bits of a row at a time.
#include "../rows/linear_cross_entropy.h"

#include "team.cuh"

namespace gpt2x::cuda {
namespace {

template <class Team, class T>
__global__ void loss_rows(T* logits, const int64_t* targets, int64_t N, int64_t V, int64_t Vp,
                          int64_t ignore_index, rows::CrossEntropyTerms<float> terms, const float* scale,
                          bool scale_per_row, bool write_gradient, float* losses) {
  for (int64_t n = blockIdx.x; n < N; n += gridDim.x) {
    T* row = logits + n * Vp;
    const int64_t target = targets[n];
    const bool counts = target != ignore_index, in_range = target >= 0 && target < V;
    float loss = 0;
    // The whole block takes the same branch: target belongs to the row.
    if (counts && in_range) {
      loss = rows::cross_entropy_row(Team{}, row, V, Vp, target, terms, scale[scale_per_row ? n : 0],
                                     write_gradient);
    } else {
      if (write_gradient) rows::clear_row(Team{}, row, Vp);
      if (counts) loss = NAN;  // loud, where a host check would stall the stream
    }
    if (threadIdx.x == 0) losses[n] = loss;
  }
}

template <class T>
int launch(void* logits, const int64_t* targets, int64_t N, int64_t V, int64_t Vp, int64_t ignore_index,
           rows::CrossEntropyTerms<float> terms, const float* scale, bool scale_per_row, bool write_gradient,
           float* losses, cudaStream_t stream) {
  return with_team<T>(Vp, {logits}, [&](auto team) -> int {
    loss_rows<decltype(team)><<<blocks_for(N), threads_for(team, V, 512), 0, stream>>>(
        static_cast<T*>(logits), targets, N, V, Vp, ignore_index, terms, scale, scale_per_row, write_gradient,
        losses);
    return cudaGetLastError();
  });
}

}  // namespace
}  // namespace gpt2x::cuda

// ----------------------------------------------------------------------------------------------------------------
// Launcher

using namespace gpt2x::cuda;

int gpt2x_cuda_linear_cross_entropy(int dtype, void* logits, const int64_t* targets, int64_t N, int64_t V,
                                    int64_t Vp, int64_t ignore_index, double label_smoothing, double z_loss,
                                    const float* scale, int scale_per_row, int write_gradient, float* losses,
                                    void* stream) {
  if (V < 1 || V > Vp) return cudaErrorInvalidValue;
  if (N == 0) return cudaSuccess;
  const auto launch_as = dtype == kFloat32    ? launch<float>
                         : dtype == kBfloat16 ? launch<gpt2x::rows::bfloat16>
                                              : nullptr;
  if (launch_as == nullptr) return cudaErrorInvalidValue;
  const gpt2x::rows::CrossEntropyTerms<float> terms{static_cast<float>(label_smoothing),
                                                    static_cast<float>(z_loss)};
  return launch_as(logits, targets, N, V, Vp, ignore_index, terms, scale, scale_per_row != 0,
                   write_gradient != 0, losses, as_stream(stream));
}
