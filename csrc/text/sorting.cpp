#include "sorting.hpp"

#include <algorithm>
#include <array>

namespace gpt2x::text {
namespace {

constexpr size_t kFew = 64;  // codes that comparisons sort sooner than four passes over them
constexpr int kDigits = 4, kDigitBits = 8;
constexpr uint32_t kDigitMask = (1u << kDigitBits) - 1;

// Least significant digit first: each pass keeps the order of the one before.
void radix_sort(std::vector<uint32_t>& codes, std::vector<uint32_t>& spare) {
  std::array<std::array<uint32_t, kDigitMask + 1>, kDigits> counts{};
  for (const uint32_t code : codes)
    for (int digit = 0; digit < kDigits; ++digit) ++counts[digit][code >> digit * kDigitBits & kDigitMask];
  spare.resize(codes.size());
  for (int digit = 0; digit < kDigits; ++digit) {
    auto& places = counts[digit];
    const int shift = digit * kDigitBits;
    if (places[codes[0] >> shift & kDigitMask] == codes.size()) continue;  // the same digit in all
    uint32_t sum = 0;
    for (uint32_t& place : places) {
      const uint32_t count = place;
      place = sum;
      sum += count;
    }
    for (const uint32_t code : codes) spare[places[code >> shift & kDigitMask]++] = code;
    codes.swap(spare);
  }
}

}  // namespace

void sort_once(std::vector<uint32_t>& codes, std::vector<uint32_t>& spare) {
  if (codes.size() <= kFew) {
    std::sort(codes.begin(), codes.end());
  } else {
    radix_sort(codes, spare);
  }
  codes.erase(std::unique(codes.begin(), codes.end()), codes.end());
}

}  // namespace gpt2x::text
