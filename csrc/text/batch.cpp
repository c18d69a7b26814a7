#include "batch.hpp"

#include <array>
#include <cmath>

#include "features.hpp"
#include "lanes.hpp"

namespace gpt2x::text {
namespace {

constexpr size_t kAhead = 24;      // features whose weights are fetched before they are needed
constexpr size_t kCacheLine = 16;  // floats
constexpr int kDigits = 3, kDigitBits = 9;
constexpr uint32_t kDigitMask = (1u << kDigitBits) - 1;
static_assert(kMostBits + 3 <= kDigits * kDigitBits && kGroups <= 8);

void fetch(const float* row, size_t width) {
  for (size_t place = 0; place < width; place += kCacheLine) __builtin_prefetch(row + place);
  __builtin_prefetch(row + width - 1);
}

}  // namespace

void Batch::add(uint32_t text, std::span<const uint32_t> features) {
  for (const uint32_t feature : features) items_.push_back({feature, text});
}

// Least significant digit first: each pass keeps the order of the one before, the first that of the texts.
void Batch::radix_sort() {
  const auto digit_of = [this](uint32_t code, int digit) {
    const uint32_t key = (code & kNumberMask) | code >> kGroupShift << bits_;
    return key >> digit * kDigitBits & kDigitMask;
  };
  std::array<std::array<uint32_t, kDigitMask + 1>, kDigits> places{};
  for (const Item& item : items_)
    for (int digit = 0; digit < kDigits; ++digit) ++places[digit][digit_of(item.code, digit)];
  spare_.resize(items_.size());
  for (int digit = 0; digit < kDigits; ++digit) {
    uint32_t sum = 0;
    for (uint32_t& place : places[digit]) {
      const uint32_t count = place;
      place = sum;
      sum += count;
    }
    for (const Item& item : items_) spare_[places[digit][digit_of(item.code, digit)]++] = item;
    items_.swap(spare_);
  }
}

GPT2X_TEXT_CLONES
void Batch::order(const Columns& columns) {
  radix_sort();
  size_t to = 0;
  Item before{UINT32_MAX, UINT32_MAX};
  for (const Item& item : items_) {
    const bool again = item.code == before.code && item.text == before.text;
    before = item;
    const int32_t column = columns.find(before.code & kNumberMask);
    if (again || column < 0) continue;
    items_[to++] = {(before.code & ~kNumberMask) | static_cast<uint32_t>(column), before.text};
  }
  items_.resize(to);
}

void Batch::mark_known(std::span<const uint8_t> groups, std::span<uint8_t> known) const {
  static_assert(kWord == 0, "words are first");
  for (const Item& item : items_) {
    if (item.code >> kGroupShift != kWord) break;
    if (groups[item.code & kNumberMask] & 1u << kWord) known[item.text] = 1;
  }
}

void Batch::find_values(std::span<const float> idf, size_t num_texts) {
  terms_.resize(items_.size());
  if (idf.empty()) {
    for (size_t k = 0; k < items_.size(); ++k) terms_[k] = {items_[k].code & kNumberMask, items_[k].text, 1};
    return;
  }
  norms_.assign(num_texts * kGroups, 0.0f);
  const auto norm = [this](const Item& item) -> float& {
    return norms_[item.text * kGroups + (item.code >> kGroupShift)];
  };
  for (const Item& item : items_) {
    const float value = idf[item.code & kNumberMask];
    norm(item) += value * value;
  }
  for (float& square : norms_) square = square > 0 ? 1 / std::sqrt(square) : 0;
  for (size_t k = 0; k < items_.size(); ++k) {
    const uint32_t column = items_[k].code & kNumberMask;
    terms_[k] = {column, items_[k].text, idf[column] * norm(items_[k])};
  }
}

GPT2X_TEXT_CLONES
void Batch::add_terms(std::span<const Term> terms, const WeightRows& weights, float* sums) {
  for (size_t k = 0; k < terms.size(); ++k) {
    if (k + kAhead < terms.size()) fetch(weights.row(terms[k + kAhead].column), weights.width);
    const float* row = weights.row(terms[k].column);
    float* sum = sums + terms[k].text * weights.lanes;
    for (size_t c = 0; c < weights.lanes; c += kLanes)
      *reinterpret_cast<Lanes*>(sum + c) += *reinterpret_cast<const Lanes*>(row + c) * terms[k].value;
  }
}

void Batch::add_up(std::span<const float> idf, const WeightRows& weights, std::span<float> sums) {
  find_values(idf, sums.size() / weights.lanes);
  add_terms(terms_, weights, sums.data());
}

}  // namespace gpt2x::text
