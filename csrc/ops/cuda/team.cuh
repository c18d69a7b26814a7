// A block, or lanes of a warp, as a team that works on one row. And what the launchers share.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "../rows/pack.h"
#include "gpt2x_cuda.h"

namespace gpt2x::cuda {

constexpr int kWarp = 32;
constexpr int kMaxWarps = 32;

// The block must have a multiple of 32 threads, each of which takes K neighbouring elements at a time. Its
// methods are called by all threads of the block together.
template <int K>
struct Block {
  static constexpr int kPack = K;
  GPT2X_HD int64_t lane() const {
#if defined(__CUDA_ARCH__)
    return threadIdx.x;
#else
    return 0;
#endif
  }
  GPT2X_HD int64_t stride() const {
#if defined(__CUDA_ARCH__)
    return blockDim.x;
#else
    return 1;
#endif
  }
  GPT2X_HD void sync() const {
#if defined(__CUDA_ARCH__)
    __syncthreads();
#endif
  }
  template <class W>
  GPT2X_HD W sum(W partial) const {
    return reduce(partial, W(0), [](W a, W b) { return a + b; });
  }
  template <class W>
  GPT2X_HD W max(W partial) const {
    return reduce(partial, W(-INFINITY), [](W a, W b) { return a > b ? a : b; });
  }

 private:
  // Butterflies inside each warp, then one over the warps' results in every warp. Both trees are symmetric
  // and the operations commute, so every thread gets the same bits, and the same ones in every run.
  template <class W, class F>
  GPT2X_HD W reduce(W partial, W neutral, const F& combine) const {
#if defined(__CUDA_ARCH__)
    __shared__ W of_warp[kMaxWarps];
    const int thread = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, num_warps = blockDim.x / kWarp;
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      partial = combine(partial, __shfl_xor_sync(0xffffffffu, partial, distance));
    }
    __syncthreads();  // the previous reduction's results have been read by all
    if (thread == 0) of_warp[warp] = partial;
    __syncthreads();
    W total = thread < num_warps ? of_warp[thread] : neutral;
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      total = combine(total, __shfl_xor_sync(0xffffffffu, total, distance));
    }
    return total;
#else
    return partial;
#endif
  }
};

// G neighbouring lanes of a warp, a power of two: all of it, or a part of it while its other lanes work on
// other rows. Each takes K neighbouring elements at a time. The sum is called by all 32 lanes of the warp
// together, each for its own row; it needs no barrier and no shared memory.
template <int K, int G = kWarp>
struct Lanes {
  static_assert(G <= kWarp && kWarp % G == 0);
  static constexpr int kPack = K;
  GPT2X_HD int64_t lane() const {
#if defined(__CUDA_ARCH__)
    return threadIdx.x % G;
#else
    return 0;
#endif
  }
  GPT2X_HD static constexpr int64_t stride() { return G; }
  template <class W>
  GPT2X_HD W sum(W partial) const {
#if defined(__CUDA_ARCH__)
    for (int distance = G / 2; distance > 0; distance /= 2) {
      partial += __shfl_xor_sync(0xffffffffu, partial, distance);
    }
#endif
    return partial;
  }
};

// ----------------------------------------------------------------------------------------------------------------
// Launching

// Threads for a row of C elements: a multiple of 32, no more than have a pack to take.
template <int K>
int threads_for(Block<K>, int64_t C, int most) {
  const int64_t warps = (C + K * kWarp - 1) / (K * kWarp);
  return static_cast<int>(std::clamp<int64_t>(warps, 1, most / kWarp)) * kWarp;
}

// Calls f with the team for arrays of rows of C elements, T or wider: one that takes 128-bit packs of T where
// every row of every array is aligned for them, else single elements.
template <class T, class F>
int with_team(int64_t C, std::initializer_list<const void*> arrays, const F& f) {
  constexpr int K = rows::kPackOf<T>;
  return C % K == 0 && rows::aligned_for_packs(arrays) ? f(Block<K>{}) : f(Block<1>{});
}

// Blocks for N rows; the kernels stride over rows, so any N works.
inline unsigned blocks_for(int64_t N) {
  return static_cast<unsigned>(std::min<int64_t>(N, 1 << 20));
}

inline cudaStream_t as_stream(void* stream) {
  return static_cast<cudaStream_t>(stream);
}

enum Dtype : int { kFloat32 = 0, kBfloat16 = 1, kInt8 = 2 };

// Calls f with values of the C++ types that store activations and parameters.
template <class F>
int with_storage(int dtype, int parameter_dtype, const F& f) {
  if (dtype == kFloat32 && parameter_dtype == kFloat32) return f(float{}, float{});
  if (dtype == kBfloat16 && parameter_dtype == kBfloat16) return f(rows::bfloat16{}, rows::bfloat16{});
  if (dtype == kBfloat16 && parameter_dtype == kFloat32) return f(rows::bfloat16{}, float{});
  return cudaErrorInvalidValue;
}

// ----------------------------------------------------------------------------------------------------------------
// Partial sums of a parameter's gradient: one row of them per block, added up in a fixed order by a second
// kernel.

// Shared memory that every GPU gives a block without asking.
constexpr int64_t kSharedBytes = 40 * 1024;

inline size_t shared_bytes(int64_t width) {
  const int64_t bytes = width * static_cast<int64_t>(sizeof(float));
  return bytes <= kSharedBytes ? static_cast<size_t>(bytes) : 0;
}

// A thread clears, adds to and copies the same columns, so no barrier stands between.
template <class Team>
__device__ void clear_partials(const Team& team, float* sums, int64_t C) {
  rows::each(team, C, [](float& sum) { sum = 0; }, rows::Out<float>{sums});
}

template <class Team>
__device__ void copy_partials(const Team& team, const float* sums, int64_t C, float* out) {
  rows::each(
      team, C, [](float sum, float& copy) { copy = sum; }, rows::In<float>{sums}, rows::Out<float>{out});
}

// out[c] = sum over blocks of partials[block][c], in a tile of 32 columns by 8 strides of blocks.
template <class P>
__global__ void sum_partials(const float* partials, int64_t num_blocks, int64_t width, int64_t C, P* out) {
  __shared__ float tile[8][kWarp + 1];
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  float total = 0;
  if (c < C) {
    for (int64_t block = threadIdx.y; block < num_blocks; block += 8) total += partials[block * width + c];
  }
  tile[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || c >= C) return;
  for (int y = 1; y < 8; ++y) total += tile[y][threadIdx.x];
  out[c] = rows::to_storage<P>(total);
}

template <class P>
void launch_sum_partials(const float* partials, int64_t num_blocks, int64_t width, int64_t C, P* out,
                         cudaStream_t stream) {
  sum_partials<<<static_cast<unsigned>((C + kWarp - 1) / kWarp), dim3(kWarp, 8), 0, stream>>>(
      partials, num_blocks, width, C, out);
}

}  // namespace gpt2x::cuda
