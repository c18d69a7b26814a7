#include <algorithm>
#include <cmath>
#include <memory>

#include "check.hpp"
#include "samples.hpp"
#include "scorer.hpp"

using namespace gpt2x::text;

namespace {

constexpr int kBits = 12;

constexpr uint8_t kAnyGroup = (1u << kGroups) - 1;

// Weights of half of all numbers, in arrays that end where the last number ends. Half of them are known as
// words.
struct Model {
  Model(int classes, size_t width, bool has_idf) : classes(classes), width(width) {
    samples::Random random;
    for (int64_t number = 0; number < 1 << kBits; ++number)
      if (random.below(2) == 0) numbers.push_back(number);
    weights.resize(numbers.size() * width);
    for (float& weight : weights) weight = random.around_zero();
    if (has_idf) idf.resize(numbers.size());
    for (float& value : idf) value = 1.5f + random.around_zero();
    groups.resize(numbers.size(), kAnyGroup);
    for (uint8_t& group : groups)
      if (random.below(2) == 0) group = 1u << kPair;
    weights.shrink_to_fit();
    idf.shrink_to_fit();
  }

  Scorer scorer() const { return {numbers, kBits, weights, width, idf, groups, classes}; }

  int classes;
  size_t width;
  std::vector<int64_t> numbers;
  std::vector<float> weights, idf;
  std::vector<uint8_t> groups;
};

struct Found {
  std::vector<float> scores;
  std::vector<uint8_t> known;
};

Found score(const Scorer& scorer, std::span<const std::string_view> texts, int threads) {
  Found found{std::vector<float>(texts.size() * scorer.classes()), std::vector<uint8_t>(texts.size())};
  scorer.score(texts, texts, threads, {found.scores, found.known});
  return found;
}

// The scores of one text, added up in float64 feature by feature.
std::vector<double> expected_scores(const Model& model, std::string_view text, bool& is_known) {
  const FeatureRows rows(std::span(&text, 1), std::span(&text, 1), kBits, 1);
  std::vector<double> squares(kGroups), scores(model.classes);
  const auto column_of = [&](uint32_t feature) -> int64_t {
    const auto place = std::lower_bound(model.numbers.begin(), model.numbers.end(), feature & kNumberMask);
    return place != model.numbers.end() && *place == (feature & kNumberMask) ? place - model.numbers.begin()
                                                                             : -1;
  };
  const auto idf = [&](int64_t column) { return model.idf.empty() ? 1.0 : double{model.idf[column]}; };
  is_known = false;
  for (const uint32_t feature : rows.row(0)) {
    const int64_t column = column_of(feature);
    if (column < 0) continue;
    squares[feature >> kGroupShift] += idf(column) * idf(column);
    const bool is_of_word = model.groups[static_cast<size_t>(column)] & 1u << kWord;
    is_known = is_known || (feature >> kGroupShift == kWord && is_of_word);
  }
  for (const uint32_t feature : rows.row(0)) {
    const int64_t column = column_of(feature);
    if (column < 0) continue;
    const double value = model.idf.empty() ? 1 : idf(column) / std::sqrt(squares[feature >> kGroupShift]);
    for (int c = 0; c < model.classes; ++c) scores[c] += value * model.weights[column * model.width + c];
  }
  return scores;
}

}  // namespace

TEST("scores are the sums of the weights of a text's features") {
  const auto texts = samples::headlines(60);
  const auto views = samples::views_of(texts);
  for (const int classes : {1, 2, 15, 16, 17, 42})
    for (const size_t extra : {0, 1, 22})
      for (const bool has_idf : {true, false}) {
        const Model model(classes, classes + extra, has_idf);
        const Found found = score(model.scorer(), views, 1);
        for (size_t i = 0; i < views.size(); ++i) {
          bool is_known = false;
          const auto expected = expected_scores(model, views[i], is_known);
          CHECK_EQ(found.known[i] != 0, is_known);
          for (int c = 0; c < classes; ++c)
            CHECK(std::abs(found.scores[i * classes + c] - expected[c]) < 1e-3);
        }
      }
}

TEST("a text's scores depend neither on threads nor on the other texts") {
  const auto texts = samples::headlines(2000);
  const auto views = samples::views_of(texts);
  const Model model(7, 7, true);
  const Scorer scorer = model.scorer();
  const Found one = score(scorer, views, 1);
  for (const int threads : {2, 5, 64}) {
    const Found many = score(scorer, views, threads);
    CHECK(one.scores == many.scores);
    CHECK(one.known == many.known);
  }
  for (const size_t i : {size_t{0}, size_t{767}, size_t{768}, size_t{1999}}) {
    const Found alone = score(scorer, std::span(views).subspan(i, 1), 1);
    CHECK(std::equal(alone.scores.begin(), alone.scores.end(),
                     one.scores.begin() + static_cast<ptrdiff_t>(i * 7)));
  }
}

TEST("texts of any length are scored as they are alone") {
  const auto parts = samples::headlines(30000);
  std::vector<std::string> texts(800);
  for (size_t k = 0; k < parts.size(); ++k) texts[k % 3 == 0 ? k % 800 : k % 5] += parts[k] + ' ';
  const auto views = samples::views_of(texts);
  CHECK(views[0].size() > 100000);  // more than one part, by bytes and by number
  const Model model(7, 7, true);
  const Scorer scorer = model.scorer();
  const Found one = score(scorer, views, 1), many = score(scorer, views, 5);
  CHECK(one.scores == many.scores);
  CHECK(one.known == many.known);
  for (size_t i = 0; i < views.size(); i += i < 8 ? 1 : 97) {
    const Found alone = score(scorer, std::span(views).subspan(i, 1), 1);
    CHECK(std::equal(alone.scores.begin(), alone.scores.end(),
                     one.scores.begin() + static_cast<ptrdiff_t>(i * 7)));
    CHECK_EQ(int{alone.known[0]}, int{one.known[i]});
  }
}

TEST("a word is known by the number of a word, a sentence without blanks by that of a letter") {
  const std::vector<std::string_view> texts{"rain", "\xE4\xB8\x8B\xE9\x9B\xA8\xE5\xA4\xA9", "xqzzy"};
  const std::vector<std::string_view> learned{"rain", "\xE9\x9B\xA8"};
  const std::vector<uint8_t> bits = FeatureRows(learned, learned, 22, 1).group_bits(22);
  const auto knows = [&](auto group_of) {
    std::vector<int64_t> numbers;
    std::vector<uint8_t> groups;
    for (const std::string_view text : texts) {
      const FeatureRows rows(std::span(&text, 1), std::span(&text, 1), 22, 1);
      for (const uint32_t feature : rows.row(0)) numbers.push_back(feature & kNumberMask);
    }
    std::sort(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    for (const int64_t number : numbers) groups.push_back(group_of(number));
    const std::vector<float> weights(numbers.size());
    return score(Scorer(numbers, 22, weights, 1, {}, groups, 1), texts, 1).known;
  };
  // Each number of these texts has a column, as in a crowded table.
  CHECK(knows([&](int64_t number) { return bits[static_cast<size_t>(number)]; }) ==
        std::vector<uint8_t>({1, 1, 0}));
  CHECK(knows([&](int64_t) { return uint8_t{1u << kPair | 1u << kCharacters}; }) ==
        std::vector<uint8_t>({0, 0, 0}));
  CHECK(knows([&](int64_t) { return kAnyGroup; }) == std::vector<uint8_t>({1, 1, 1}));
}

TEST("no text has no answer, and a text of nothing known has zeros") {
  const Model model(3, 3, true);
  CHECK_EQ(score(model.scorer(), {}, 4).scores.size(), 0u);
  const std::vector<int64_t> none;
  const Scorer empty(none, kBits, {}, 3, {}, {}, 3);
  const std::string_view text = "rain and wind";
  const Found found = score(empty, std::span(&text, 1), 1);
  CHECK_EQ(found.scores, std::vector<float>(3));
  CHECK_EQ(int{found.known[0]}, 0);
}

TEST("raw lines are scored as texts, and those left to Python are named") {
  const Model model(5, 5, false);
  const Scorer scorer = model.scorer();
  const std::string data = "rain and wind\nGoal \xE6\x97\xA5\n\ncaf\xC3\xA9 \xFF\ngoal";
  const auto lines = lines_of(data);
  std::vector<float> scores(lines.size() * 5);
  std::vector<uint8_t> known(lines.size());
  const auto left = scorer.score_lines(lines, {true, false}, 2, {scores, known});
  CHECK_EQ(left, std::vector<int64_t>({1, 3}));
  for (const size_t i : {size_t{0}, size_t{2}, size_t{4}}) {
    const Found alone = score(scorer, std::span(lines).subspan(i, 1), 1);
    CHECK(
        std::equal(alone.scores.begin(), alone.scores.end(), scores.begin() + static_cast<ptrdiff_t>(i * 5)));
  }
  for (const size_t i : {size_t{1}, size_t{3}})
    CHECK(std::all_of(scores.begin() + static_cast<ptrdiff_t>(i * 5),
                      scores.begin() + static_cast<ptrdiff_t>(i * 5 + 5),
                      [](float score) { return score == 0; }));
}
