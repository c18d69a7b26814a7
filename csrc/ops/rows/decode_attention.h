// Attention of one new token in one head: it sees all S tokens of the cache, itself the last.
#pragma once

#include "gemv.h"

namespace gpt2x::rows {

// What a part of the tokens contributes: sum_s e^(x_s - highest) v_s stands in its `total`, not yet divided
// by `mass`. Parts are put together by `decode_attention_merge`.
template <class W>
struct AttentionPart {
  W highest;  // largest score x_s
  W mass;     // sum_s e^(x_s - highest)
};

// total += sum of the first `count` value rows by their weights, four rows for each read and write of total.
template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD void add_values(const Team& team, const W* weights, const T* values, int64_t value_stride,
                         int64_t count, int64_t D, W* total) {
  int64_t s = 0;
  for (; s + 4 <= count; s += 4) {
    const T *v0 = values + s * value_stride, *v1 = v0 + value_stride, *v2 = v1 + value_stride,
            *v3 = v2 + value_stride;
    const W w0 = weights[s], w1 = weights[s + 1], w2 = weights[s + 2], w3 = weights[s + 3];
    GPT2X_SIMD
    for (int64_t i = team.lane(); i < D; i += team.stride()) {
      total[i] += (w0 * to_accumulation(v0[i]) + w1 * to_accumulation(v1[i])) +
                  (w2 * to_accumulation(v2[i]) + w3 * to_accumulation(v3[i]));
    }
  }
  for (; s < count; ++s) {
    const T* value = values + s * value_stride;
    const W weight = weights[s];
    GPT2X_SIMD
    for (int64_t i = team.lane(); i < D; i += team.stride()) total[i] += weight * to_accumulation(value[i]);
  }
}

// Turns the S scores of a part, which all lanes may have written, into the weights e^(x_s - highest), which
// all lanes may read.
template <class Team, class W>
GPT2X_HD AttentionPart<W> weigh_scores(const Team& team, W* scores, int64_t S) {
  team.sync();
  W top = -INFINITY;
  GPT2X_SIMD_MAX(top)
  for (int64_t s = team.lane(); s < S; s += team.stride()) top = scores[s] > top ? scores[s] : top;
  const W highest = team.max(top);
  // A part that sees nothing (all scores -inf) weighs 0 beside others that do.
  const W origin = highest > -INFINITY ? highest : W(0);
  W mass = 0;
  GPT2X_SIMD_SUM(mass)
  for (int64_t s = team.lane(); s < S; s += team.stride()) {
    scores[s] = exponential(scores[s] - origin);
    mass += scores[s];
  }
  mass = team.sum(mass);
  team.sync();
  return {highest, mass};
}

// One part of a head: S > 0 tokens, whose rows of K and V stand `key_stride` and `value_stride` elements
// apart, their D elements side by side. `scores` (S) is a buffer for the team, `total` (D) is overwritten. A
// GPU spreads tokens over lanes as well, and has a function of its own for it (cuda/decode_attention.cu).
//
// One pass over K, one over V: at S = 1024, D = 64 half a megabyte in float32, each byte read once. Four keys
// at once; one after the other, each waits for the sum before it (12 heads, S = 1024, D = 64 in float32 on
// one Zen 5 core, values included: 116 instead of 156 us).
template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD AttentionPart<W> decode_attention_part(const Team& team, const T* query, const T* keys,
                                                int64_t key_stride, const T* values, int64_t value_stride,
                                                int64_t S, int64_t D, W scale, W* scores, W* total) {
  int64_t done = 0;
  for (; done + 4 <= S; done += 4) {
    const T *k0 = keys + done * key_stride, *k1 = k0 + key_stride, *k2 = k1 + key_stride,
            *k3 = k2 + key_stride;
    const Four<W> x = four_dots<W>(team, query, k0, k1, k2, k3, D);
    const W x0 = team.sum(x.first), x1 = team.sum(x.second), x2 = team.sum(x.third), x3 = team.sum(x.fourth);
    if (team.lane() != 0) continue;
    scores[done] = x0 * scale, scores[done + 1] = x1 * scale;
    scores[done + 2] = x2 * scale, scores[done + 3] = x3 * scale;
  }
  for (; done < S; ++done) {
    const W score = team.sum(dot<W>(team, keys + done * key_stride, query, D)) * scale;
    if (team.lane() == 0) scores[done] = score;
  }
  const AttentionPart<W> part = weigh_scores(team, scores, S);
  for (int64_t i = team.lane(); i < D; i += team.stride()) total[i] = 0;
  add_values(team, scores, values, value_stride, S, D, total);
  return part;
}

// y = softmax(q K^T / sqrt(D)) V from the parts of one head, in their order; `totals` (count, D).
template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD void decode_attention_merge(const Team& team, const AttentionPart<W>* parts, const W* totals,
                                     int64_t count, int64_t D, T* y) {
  W highest = -INFINITY;
  for (int64_t p = 0; p < count; ++p) highest = parts[p].highest > highest ? parts[p].highest : highest;
  W mass = 0;
  for (int64_t p = 0; p < count; ++p) mass += exponential(parts[p].highest - highest) * parts[p].mass;
  const W inverse = W(1) / mass;
  for (int64_t i = team.lane(); i < D; i += team.stride()) {
    W sum = 0;
    for (int64_t p = 0; p < count; ++p) sum += exponential(parts[p].highest - highest) * totals[p * D + i];
    y[i] = to_storage<T>(sum * inverse);
  }
}

}  // namespace gpt2x::rows
