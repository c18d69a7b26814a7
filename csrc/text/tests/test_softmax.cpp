#include <cmath>
#include <limits>
#include <numeric>

#include "check.hpp"
#include "samples.hpp"
#include "softmax.hpp"

using namespace gpt2x::text;

namespace {

constexpr int kBits = 10, kClasses = 3;

// A classifier that has learned nothing.
struct Learner {
  Learner() : texts(samples::headlines(300)), views(samples::views_of(texts)), rows(views, views, kBits, 1) {
    order.resize(texts.size());
    std::iota(order.begin(), order.end(), 0);
    for (const std::string& text : texts) truth.push_back(static_cast<int32_t>(text.size() % kClasses));
    row_weights.assign(texts.size(), 1.0f);
    values.assign((size_t{1} << kBits) * padded(kClasses), 0.0f);
    idf.assign(size_t{1} << kBits, 1.0f);
    squares.assign(size_t{1} << kBits, 0.0f);
  }

  double learn(float dropout = 0) {
    return gpt2x::text::learn(rows, order, truth, row_weights, {values, idf, kClasses}, squares,
                              {0.3f, dropout, 7});
  }

  std::vector<std::string> texts;
  std::vector<std::string_view> views;
  FeatureRows rows;
  std::vector<int64_t> order;
  std::vector<int32_t> truth;
  std::vector<float> row_weights, values, idf, squares;
};

}  // namespace

TEST("the first step is that of the formula") {
  Learner learner;
  learner.order = {0};
  learner.idf.assign(learner.idf.size(), 2.0f);
  CHECK(std::abs(learner.learn() - std::log(3.0)) < 1e-6);
  std::vector<int> in_group(kGroups);
  for (const uint32_t feature : learner.rows.row(0)) ++in_group[feature >> kGroupShift];
  const uint32_t feature = learner.rows.row(0).front();
  const double value = 1 / std::sqrt(in_group[feature >> kGroupShift]);
  const double square =
      (2.0 / 3 * 2.0 / 3 + 2.0 / 9) / 2 * value * value;  // of the gradient, if no other shares it
  const double step = 0.3 / std::sqrt(learner.squares[feature & kNumberMask] + 1e-8) * value / 3;
  CHECK(learner.squares[feature & kNumberMask] >= square * 0.999);
  for (int c = 0; c < kClasses; ++c) {
    const float weight = learner.values[(feature & kNumberMask) * padded(kClasses) + c];
    CHECK(c == learner.truth[0] ? weight >= 2 * step * 0.999 : weight <= -step * 0.999);
  }
}

TEST("passes over the texts lower the loss, the same each time, and leave the padding alone") {
  Learner one, again;
  double before = std::numeric_limits<double>::infinity();
  for (int epoch = 0; epoch < 5; ++epoch) {
    const double loss = one.learn(0.2f);
    CHECK(loss < before);
    CHECK_EQ(again.learn(0.2f), loss);
    before = loss;
  }
  CHECK(one.values == again.values);
  for (size_t row = 0; row < one.squares.size(); ++row)
    for (size_t c = kClasses; c < padded(kClasses); ++c)
      CHECK_EQ(one.values[row * padded(kClasses) + c], 0.0f);
}

TEST("a text that counts nothing teaches nothing") {
  Learner learner;
  learner.row_weights.assign(learner.texts.size(), 0.0f);
  CHECK_EQ(learner.learn(), 0.0);
  CHECK_EQ(learner.squares, std::vector<float>(learner.squares.size()));
}
