// Causal attention of one head, in tiles of scores that stand transposed: a row is one key, and the queries
// stand side by side in vectors. A query's statistics are then lanes, and no sum or maximum runs across a
// vector.
//
// Written over vectors of 64 bytes and not over a team: the matrix products (cpu/attention_tiles.h) want them
// in registers. Included where cpu/target.h has chosen the instructions, hence the anonymous namespace.
#pragma once

#include "scalar.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors are passed between inlined functions only
#endif

namespace gpt2x::rows {
namespace {

template <class W>
struct LanesOf {
  typedef W type __attribute__((vector_size(64)));
};
template <class W>
using Lanes = typename LanesOf<W>::type;
template <class W>
constexpr int kLanes = 64 / static_cast<int>(sizeof(W));

typedef int32_t IntLanes __attribute__((vector_size(64)));
typedef uint32_t BitLanes __attribute__((vector_size(64)));

template <class W, class X>
GPT2X_HD Lanes<W> load_lanes(const X* from) {
  Lanes<W> lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

template <class L, class X>
GPT2X_HD void store_lanes(const L& lanes, X* to) {
  std::memcpy(to, &lanes, sizeof lanes);
}

// `exponential` of scalar.h for all lanes at once.
GPT2X_HD void exponential_lanes(Lanes<float>& x) {
  constexpr float kLowest = -87.3f, kHighest = 88.3f, kRounder = 12582912.0f;
  Lanes<float> inside = x < kLowest ? Lanes<float>{} + kLowest : x;  // keeps a NaN
  inside = inside > kHighest ? Lanes<float>{} + kHighest : inside;
  const Lanes<float> shifted = inside * 1.44269504f + kRounder;
  const Lanes<float> n = shifted - kRounder;
  const Lanes<float> r = (inside - n * 0.693359375f) - n * -2.12194440e-4f;
  Lanes<float> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const BitLanes exponent = ((BitLanes)shifted - 0x4b400000u + 127u) << 23;
  const Lanes<float> y = (p * r * r + r + 1.0f) * (Lanes<float>)exponent;
  const Lanes<float> bounded = x > kHighest ? Lanes<float>{} + INFINITY : y;
  x = x < kLowest ? Lanes<float>{} : bounded;
}

GPT2X_HD void exponential_lanes(Lanes<double>& x) {
  for (int lane = 0; lane < kLanes<double>; ++lane) x[lane] = exponential(x[lane]);
}

// The keys of a tile that each of the queries in a vector sees: those before `first_hidden`, counted from the
// tile's first key on.
template <class W>
struct Visible {
  Lanes<W> first_hidden;
  bool all;  // none is hidden, which spares the comparisons
};

template <class W>
GPT2X_HD void hide(const Visible<W>& visible, int64_t key, W hidden, Lanes<W>& scores) {
  if (!visible.all) scores = visible.first_hidden > static_cast<W>(key) ? scores : Lanes<W>{} + hidden;
}

// Running statistics of the queries in a vector (Milakov and Gimelshein 2018, "Online normalizer
// calculation").
template <class W>
struct SoftmaxLanes {
  Lanes<W> highest;  // largest scaled score so far
  Lanes<W> mass;     // sum of e^(score - highest)
};

// What the exponents are counted from: 0 where every score was -inf, so that those weigh 0 beside others.
template <class W>
GPT2X_HD Lanes<W> origin_of(const Lanes<W>& highest) {
  return highest > -INFINITY ? highest : Lanes<W>{};
}

// Scores of `count` keys, `stride` apart, become their weights e^(scale score - highest) in place. Returns
// what totals of earlier keys must be multiplied with.
template <class W>
GPT2X_HD Lanes<W> softmax_lanes(SoftmaxLanes<W>& so_far, W* scores, int64_t count, int64_t stride, W scale,
                                const Visible<W>& visible) {
  Lanes<W> top = so_far.highest;
  for (int64_t key = 0; key < count; ++key) {
    Lanes<W> score = load_lanes<W>(scores + key * stride) * scale;
    hide(visible, key, static_cast<W>(-INFINITY), score);
    top = score > top ? score : top;
  }
  const Lanes<W> origin = origin_of<W>(top);
  Lanes<W> factor = so_far.highest - origin, mass = {};
  exponential_lanes(factor);
  for (int64_t key = 0; key < count; ++key) {
    Lanes<W> weight = load_lanes<W>(scores + key * stride) * scale - origin;
    exponential_lanes(weight);
    hide(visible, key, W(0), weight);
    mass += weight;
    store_lanes(weight, scores + key * stride);
  }
  so_far = {top, so_far.mass * factor + mass};
  return factor;
}

// Scores become weights e^(scale score - lse), and the gradients of the weights, dweights, become those of
// the scaled scores: weight (dweight - delta), with delta = sum of dy y over a query's channels (Dao 2023,
// "FlashAttention-2", algorithm 2).
template <class W>
GPT2X_HD void softmax_backward_lanes(Lanes<W>& score, Lanes<W>& dweight, int64_t key, W scale,
                                     const Lanes<W>& lse, const Lanes<W>& delta, const Visible<W>& visible) {
  score = score * scale - lse;
  exponential_lanes(score);
  hide(visible, key, W(0), score);
  dweight = score * (dweight - delta);
  hide(visible, key, W(0), dweight);
}

}  // namespace
}  // namespace gpt2x::rows
