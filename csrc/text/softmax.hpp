// Softmax regression over rows of features (features.hpp), learned by Adagrad.
//
// A feature of a row has the value idf / norm, where the norm is that of its group in the row: each group of
// a text has length 1. Weights are (F, Kp): one row of Kp floats a feature, the K classes padded to a
// multiple of kLanes, so that a row fills whole cache lines. Reading them is what takes the time: about 3
// lines for each of a text's 400 features.
#pragma once

#include <cstdint>
#include <span>

#include "features.hpp"
#include "lanes.hpp"

namespace gpt2x::text {

struct Weights {
  std::span<float> values;     // (F, Kp)
  std::span<const float> idf;  // (F,), or empty: then each feature has the value 1
  int classes;                 // K
  int stride() const { return static_cast<int>(padded(classes)); }  // Kp
};

struct Step {
  float learning_rate;
  float dropout;  // the share of a row's features that a step leaves out
  uint64_t seed;  // with the row's number it decides which
};

// One Adagrad step for each of `order`, in that order, on this thread. `squares` (F,) is the sum of squared
// gradients of a feature, the mean over two classes: one number a feature learns as well as one a weight and
// takes a 48th of the memory. Returns the sum of the weighted losses, each before its step.
double learn(const FeatureRows& rows, std::span<const int64_t> order, std::span<const int32_t> truth,
             std::span<const float> row_weights, const Weights& weights, std::span<float> squares,
             const Step& step);

}  // namespace gpt2x::text
