// The features of a few hundred texts in one order, so that the weights of a feature are read once for all of
// them and from the beginning of memory to its end. A text's own features keep the order that they have
// alone; so its sums, too, are those that it would have alone, to the last bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "columns.hpp"

namespace gpt2x::text {

// Weights (F, width), of which `lanes` floats are read for each feature: of a narrow row, more than it has.
struct WeightRows {
  const float* values;
  size_t width;
  size_t lanes;         // a multiple of kLanes
  uint32_t first_last;  // rows from here on stand in `last`, behind which lanes may be read
  const float* last;

  const float* row(uint32_t column) const {
    return column < first_last ? values + column * width : last + (column - first_last) * width;
  }
};

class Batch {
 public:
  explicit Batch(int bits) : bits_(bits) {}

  void clear() { items_.clear(); }

  // Adds the features of a text as FeatureReader finds them.
  void add(uint32_t text, std::span<const uint32_t> features);

  // Orders features by group, number and text, keeps each once for a text, and drops those without a column.
  void order(const Columns& columns);

  // Marks texts that have a word whose column was learned from a word; `groups` are those of the columns.
  void mark_known(std::span<const uint8_t> groups, std::span<uint8_t> known) const;

  // Adds value * weights of each feature to `sums` (texts, lanes). The value is idf / norm, the norm that of
  // the feature's group in the text; with an empty `idf` it is 1.
  void add_up(std::span<const float> idf, const WeightRows& weights, std::span<float> sums);

 private:
  struct Item {
    uint32_t code;  // group << kGroupShift | number, then column
    uint32_t text;
  };
  struct Term {
    uint32_t column, text;
    float value;
  };
  void radix_sort();
  void find_values(std::span<const float> idf, size_t num_texts);
  static void add_terms(std::span<const Term> terms, const WeightRows& weights, float* sums);

  int bits_;
  std::vector<Item> items_, spare_;
  std::vector<Term> terms_;
  std::vector<float> norms_;
};

}  // namespace gpt2x::text
