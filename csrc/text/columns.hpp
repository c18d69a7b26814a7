// Which hashed numbers have a column, and which column: 16 bytes for 64 numbers, where a table of columns
// would take 256. So the index of 4 million numbers (1 MB) stays in a processor's cache.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace gpt2x::text {

class Columns {
 public:
  // `numbers` are ascending and below 2^bits; the k-th has the column k.
  Columns(std::span<const int64_t> numbers, int bits) : words_(((size_t{1} << bits) + 63) / 64) {
    for (const int64_t number : numbers) words_[number >> 6].bits |= uint64_t{1} << (number & 63);
    uint32_t before = 0;
    for (Word& word : words_) {
      word.before = before;
      before += static_cast<uint32_t>(std::popcount(word.bits));
    }
  }

  // The column of a number below 2^bits, -1 where it has none.
  int32_t find(uint32_t number) const {
    const Word& word = words_[number >> 6];
    const uint64_t own = uint64_t{1} << (number & 63);
    if (!(word.bits & own)) return -1;
    return static_cast<int32_t>(word.before + static_cast<uint32_t>(std::popcount(word.bits & (own - 1))));
  }

 private:
  struct Word {
    uint64_t bits = 0;    // which of 64 numbers have a column
    uint32_t before = 0;  // columns of smaller numbers than these
  };
  std::vector<Word> words_;
};

}  // namespace gpt2x::text
