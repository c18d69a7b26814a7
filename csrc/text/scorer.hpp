// Texts to scores in one go: features, their columns, and the sum of their weights. Nothing is kept of a
// text.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "batch.hpp"
#include "columns.hpp"
#include "features.hpp"
#include "lines.hpp"

namespace gpt2x::text {

// Where the answers go: scores (N, K), and whether a text has a known word (N,): a word whose column was
// learned from a word, or a letter of a script without blanks whose column was learned from one.
struct Answers {
  std::span<float> scores;
  std::span<uint8_t> known;
};

class Scorer {
 public:
  // `numbers` (F,) are ascending and below 2^bits; `weights` (F, width), with a width of at least `classes`,
  // `idf`, (F,) or empty, and `groups` (F,), what each number was seen as (FeatureRows::group_bits), are not
  // copied.
  Scorer(std::span<const int64_t> numbers, int bits, std::span<const float> weights, size_t width,
         std::span<const float> idf, std::span<const uint8_t> groups, int classes);
  Scorer(Scorer&&) = default;

  int classes() const { return classes_; }

  // Texts that are given twice, as they are and in lower case, as FeatureReader reads them.
  void score(std::span<const std::string_view> cased, std::span<const std::string_view> lowered, int threads,
             const Answers& answers) const;

  // Raw lines. Returns, ascending, the numbers of those that read_line leaves to Python; their answers are 0.
  std::vector<int64_t> score_lines(std::span<const std::string_view> lines, LineForm form, int threads,
                                   const Answers& answers) const;

 private:
  class Part;

  bool knows_letter_of(const FeatureReader& reader, std::string_view lowered) const;

  int bits_, classes_;
  Columns columns_;
  std::vector<float> last_;
  WeightRows weights_;
  std::span<const float> idf_;
  std::span<const uint8_t> groups_;
};

}  // namespace gpt2x::text
