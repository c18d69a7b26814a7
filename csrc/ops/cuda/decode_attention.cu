// decode_attention on CUDA: the tokens of a head are cut into parts of 64, a block each, so that few heads
// over a long cache keep every multiprocessor busy; a second kernel puts the parts of a head together in
// their order. How a head is cut depends on S alone. Keys and values are read once, where the cache holds
// them, 128 bits at a time; beside them a part moves 4 (2 D + 4) bytes, 1.6% of it at D = 64 in float32.
#include "../rows/decode_attention.h"

#include <climits>
#include <cmath>
#include <numeric>

#include "team.cuh"

namespace gpt2x::cuda {
namespace {

constexpr int kTokensPerPart = GPT2X_CUDA_DECODE_TOKENS_PER_PART;
constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;

// Where the rows of a (B, H, S, D) tensor stand, in elements.
struct Layout {
  int64_t batch, head, token;
};

// One part: its tokens' rows of K and V.
template <class T>
struct Part {
  const T *query, *keys, *values;
  int64_t key_stride, value_stride, tokens, D;
};

// scores[s] = scale * query . key of token s. G lanes share a token, and take four at once, so that their
// loads and sums overlap. A lane that has none computes the last one in its place, since all lanes of a warp
// sum together.
template <int K, int G, class T>
__device__ void score_tokens(const Part<T>& part, float scale, float* scores) {
  constexpr int64_t kAtOnce = kThreads / G * 4;
  const Lanes<K, G> lanes;
  const auto key = [&](int64_t s) {
    return part.keys + (s < part.tokens ? s : part.tokens - 1) * part.key_stride;
  };
  for (int64_t begin = 0; begin < part.tokens; begin += kAtOnce) {
    const int64_t s = begin + threadIdx.x / G * 4;
    const rows::Four<float> mine =
        rows::four_dots<float>(lanes, part.query, key(s), key(s + 1), key(s + 2), key(s + 3), part.D);
    const float found[4] = {lanes.sum(mine.first), lanes.sum(mine.second), lanes.sum(mine.third),
                            lanes.sum(mine.fourth)};
    if (lanes.lane() != 0) continue;
    for (int k = 0; k < 4; ++k) {
      if (s + k < part.tokens) scores[s + k] = found[k] * scale;
    }
  }
}

// K neighbouring elements: one access where they are a pack.
template <int K, class T>
__device__ rows::Pack<T, K> take(const T* from) {
  if constexpr (K == 1) {
    return {{*from}};
  } else {
    return rows::load_pack<K>(from);
  }
}

// total[i] = sum of weights[s] * values[s][i]. G lanes share a token, as many tokens are taken at once as
// there are groups of them, and the groups' sums are added in their order: inside each warp, then over the
// warps.
template <int K, int G, class T>
__device__ void sum_values(const Part<T>& part, const float* weights, float* total) {
  constexpr int kWidth = G * K;
  __shared__ float of_warp[kWarps][kWidth];
  const int column = threadIdx.x % G * K, warp = threadIdx.x / kWarp;
  for (int64_t begin = 0; begin < part.D; begin += kWidth) {
    float sum[K] = {};
    if (begin + column < part.D) {
#pragma unroll 4
      for (int64_t s = threadIdx.x / G; s < part.tokens; s += kThreads / G) {
        const rows::Pack<T, K> value = take<K>(part.values + s * part.value_stride + begin + column);
        for (int k = 0; k < K; ++k) sum[k] += weights[s] * rows::to_accumulation(value.at[k]);
      }
    }
    for (int distance = G; distance < kWarp; distance *= 2) {
      for (int k = 0; k < K; ++k) sum[k] += __shfl_xor_sync(0xffffffffu, sum[k], distance);
    }
    if (threadIdx.x % kWarp < G) {
      for (int k = 0; k < K; ++k) of_warp[warp][column + k] = sum[k];
    }
    __syncthreads();  // the sums of all warps stand there
    for (int i = threadIdx.x; i < kWidth && begin + i < part.D; i += kThreads) {
      float all = 0;
      for (int w = 0; w < kWarps; ++w) all += of_warp[w][i];
      total[begin + i] = all;
    }
    __syncthreads();  // and have been read before the next columns take their place
  }
}

// A block per part. Where a head has one part only, it is finished here.
template <int K, int G, class T>
__global__ void attend_part(const T* query, const T* keys, Layout key, const T* values, Layout value,
                            int64_t H, int64_t S, int64_t D, int64_t count, float scale,
                            rows::AttentionPart<float>* found, float* totals, T* y) {
  __shared__ float scores[kTokensPerPart];
  const int64_t i = blockIdx.x, head = i / count, first = i % count * kTokensPerPart, b = head / H,
                h = head % H;
  const Part<T> part{query + head * D,
                     keys + b * key.batch + h * key.head + first * key.token,
                     values + b * value.batch + h * value.head + first * value.token,
                     key.token,
                     value.token,
                     S - first < kTokensPerPart ? S - first : kTokensPerPart,
                     D};
  score_tokens<K, G>(part, scale, scores);
  const auto weighed = rows::weigh_scores(Block<1>{}, scores, part.tokens);
  if (threadIdx.x == 0) found[i] = weighed;
  sum_values<K, G>(part, scores, totals + i * D);  // ends with a barrier
  if (count == 1) rows::decode_attention_merge(Block<1>{}, found + i, totals + i * D, count, D, y + head * D);
}

// A block per head.
template <class T>
__global__ void merge_parts(const rows::AttentionPart<float>* found, const float* totals, int64_t count,
                            int64_t D, T* y) {
  const int64_t head = blockIdx.x;
  rows::decode_attention_merge(Block<1>{}, found + head * count, totals + head * count * D, count, D,
                               y + head * D);
}

// Calls f with how many lanes share a token: as many as have something to take of its D elements.
template <int K, class F>
int with_lanes(int64_t D, const F& f) {
  if (K > 1 && D <= 8 * K) return f(std::integral_constant<int, 8>{});
  if (K > 1 && D <= 16 * K) return f(std::integral_constant<int, 16>{});
  return f(std::integral_constant<int, kWarp>{});
}

template <class T>
int launch(const void* query, const void* keys, Layout key, const void* values, Layout value, int64_t heads,
           int64_t H, int64_t S, int64_t D, rows::AttentionPart<float>* found, float* totals, int64_t count,
           T* y, cudaStream_t stream) {
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(D)));
  // Every row begins at a multiple of this many elements.
  int64_t distance = D;
  for (const Layout& layout : {key, value}) {
    distance = std::gcd(std::gcd(distance, layout.batch), std::gcd(layout.head, layout.token));
  }
  const int error = with_team<T>(distance, {query, keys, values}, [&](auto team) -> int {
    constexpr int K = decltype(team)::kPack;
    return with_lanes<K>(D, [&](auto lanes) -> int {
      attend_part<K, decltype(lanes)::value, T>
          <<<static_cast<unsigned>(heads * count), kThreads, 0, stream>>>(
              static_cast<const T*>(query), static_cast<const T*>(keys), key, static_cast<const T*>(values),
              value, H, S, D, count, scale, found, totals, y);
      return cudaGetLastError();
    });
  });
  if (error != cudaSuccess || count == 1) return error;
  merge_parts<<<static_cast<unsigned>(heads), threads_for(Block<1>{}, D, 256), 0, stream>>>(found, totals,
                                                                                            count, D, y);
  return cudaGetLastError();
}

}  // namespace
}  // namespace gpt2x::cuda

// ----------------------------------------------------------------------------------------------------------------
// Launcher

using namespace gpt2x::cuda;

int gpt2x_cuda_decode_attention(int dtype, const void* query, const void* keys, const int64_t* key_strides,
                                const void* values, const int64_t* value_strides, int64_t B, int64_t H,
                                int64_t S, int64_t D, float* scratch, void* y, void* stream) {
  using gpt2x::rows::AttentionPart;
  if (S < 1 || D < 1) return cudaErrorInvalidValue;
  const int64_t heads = B * H, count = (S + kTokensPerPart - 1) / kTokensPerPart;
  if (heads == 0) return cudaSuccess;
  if (heads > INT_MAX / count) return cudaErrorInvalidValue;  // more blocks than a launch takes
  const Layout key{key_strides[0], key_strides[1], key_strides[2]};
  const Layout value{value_strides[0], value_strides[1], value_strides[2]};
  auto* const found = reinterpret_cast<AttentionPart<float>*>(scratch);
  float* const totals = scratch + heads * count * 2;
  static_assert(sizeof(AttentionPart<float>) == 2 * sizeof(float));
  if (dtype == kFloat32) {
    return launch(query, keys, key, values, value, heads, H, S, D, found, totals, count,
                  static_cast<float*>(y), as_stream(stream));
  }
  if (dtype == kBfloat16) {
    return launch(query, keys, key, values, value, heads, H, S, D, found, totals, count,
                  static_cast<gpt2x::rows::bfloat16*>(y), as_stream(stream));
  }
  return cudaErrorInvalidValue;
}
