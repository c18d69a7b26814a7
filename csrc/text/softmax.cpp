#include "softmax.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "lanes.hpp"

namespace gpt2x::text {
namespace {

constexpr size_t kAhead = 8;  // features whose weights are fetched before they are needed

struct Entry {
  uint32_t column;
  float value;
};

// The row's features and their values; a group's norm is over all its features, dropped or not.
void read_row(std::span<const uint32_t> row, std::span<const float> idf, std::vector<Entry>& entries) {
  float sums[kGroups] = {};
  entries.clear();
  if (idf.empty()) {
    for (const uint32_t feature : row) entries.push_back({feature & kNumberMask, 1});
    return;
  }
  for (const uint32_t feature : row) {
    const float value = idf[feature & kNumberMask];
    sums[feature >> kGroupShift] += value * value;
    entries.push_back({feature & kNumberMask, value});
  }
  float factors[kGroups];
  for (uint32_t group = 0; group < kGroups; ++group)
    factors[group] = sums[group] > 0 ? 1 / std::sqrt(sums[group]) : 0;
  for (size_t k = 0; k < row.size(); ++k) entries[k].value *= factors[row[k] >> kGroupShift];
}

uint64_t next_random(uint64_t& state) {  // xorshift64 (Marsaglia 2003)
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

void drop(std::vector<Entry>& entries, float dropout, uint64_t seed) {
  if (dropout <= 0) return;
  const auto limit = static_cast<uint64_t>(static_cast<double>(dropout) * 4294967296.0);
  const float scale = 1 / (1 - dropout);
  uint64_t state = seed | 1;
  size_t to = 0;
  for (const Entry& entry : entries)
    if (next_random(state) >> 32 >= limit) entries[to++] = {entry.column, entry.value * scale};
  entries.resize(to);
}

GPT2X_TEXT_CLONES
void add_up(const Entry* entries, size_t count, const float* weights, size_t stride, float* scores) {
  for (size_t c = 0; c < stride; c += kLanes) {
    Lanes sum = {};
    for (size_t k = 0; k < count; ++k) {
      if (c == 0 && k + kAhead < count)
        for (size_t line = 0; line < stride; line += kLanes)
          __builtin_prefetch(weights + entries[k + kAhead].column * stride + line);
      sum += *reinterpret_cast<const Lanes*>(weights + entries[k].column * stride + c) * entries[k].value;
    }
    *reinterpret_cast<Lanes*>(scores + c) = sum;
  }
}

GPT2X_TEXT_CLONES
void take_step(const Entry* entries, size_t count, float* weights, size_t stride, const float* gradient,
               float square, float* squares, float learning_rate) {
  for (size_t k = 0; k < count; ++k) {
    const auto [column, value] = entries[k];
    float& sum = squares[column];
    sum += square * value * value;
    const float factor = learning_rate / std::sqrt(sum + 1e-8f) * value;
    for (size_t c = 0; c < stride; c += kLanes) {
      auto* row = reinterpret_cast<Lanes*>(weights + column * stride + c);
      *row -= *reinterpret_cast<const Lanes*>(gradient + c) * factor;
    }
  }
}

// Scores become probabilities minus the truth, times the row's weight; returns the loss times that weight.
float gradient_of(float* scores, int classes, int32_t truth, float weight) {
  float top = scores[0], sum = 0;
  for (int c = 1; c < classes; ++c) top = std::max(top, scores[c]);
  const float own = scores[truth] - top;
  for (int c = 0; c < classes; ++c) sum += scores[c] = std::exp(scores[c] - top);
  for (int c = 0; c < classes; ++c) scores[c] *= weight / sum;
  scores[truth] -= weight;
  return weight * (std::log(sum) - own);
}

}  // namespace

double learn(const FeatureRows& rows, std::span<const int64_t> order, std::span<const int32_t> truth,
             std::span<const float> row_weights, const Weights& weights, std::span<float> squares,
             const Step& step) {
  const auto stride = static_cast<size_t>(weights.stride());
  std::vector<Entry> entries;
  std::vector<float> scores(stride);
  double loss = 0;
  for (const int64_t i : order) {
    read_row(rows.row(i), weights.idf, entries);
    drop(entries, step.dropout, mix(step.seed + static_cast<uint64_t>(i)));
    if (entries.empty() || row_weights[i] == 0) continue;
    add_up(entries.data(), entries.size(), weights.values.data(), stride, scores.data());
    loss += gradient_of(scores.data(), weights.classes, truth[i], row_weights[i]);
    std::fill(scores.begin() + weights.classes, scores.end(), 0.0f);
    float square = 0;
    for (int c = 0; c < weights.classes; ++c) square += scores[c] * scores[c];
    take_step(entries.data(), entries.size(), weights.values.data(), stride, scores.data(), square / 2,
              squares.data(), step.learning_rate);
  }
  return loss;
}

}  // namespace gpt2x::text
