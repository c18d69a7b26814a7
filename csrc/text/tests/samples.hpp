// Texts to test with: words in any order and number, as headlines have them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "features.hpp"

namespace samples {

// Random numbers that are the same everywhere.
class Random {
 public:
  uint32_t below(uint32_t bound) {
    state_ = gpt2x::text::mix(state_ + 0x9E3779B97F4A7C15ULL);
    return static_cast<uint32_t>(state_ >> 32) % bound;
  }
  float around_zero() { return static_cast<float>(below(2001)) / 1000.0f - 1.0f; }

 private:
  uint64_t state_ = 1;
};

inline std::vector<std::string> headlines(size_t count) {
  static constexpr std::string_view words[] = {"rain",         "wind", "GOAL", "Match",
                                               "don't",        "42",   "the",  "caf\xC3\xA9",
                                               "\xE2\x80\x94", "...",  "a",    "stadium"};
  Random random;
  std::vector<std::string> texts(count);
  for (std::string& text : texts)
    for (uint32_t left = random.below(12); left > 0; --left) {
      text += words[random.below(std::size(words))];
      text += random.below(9) == 0 ? gpt2x::text::kFieldSeparator : ' ';
    }
  return texts;
}

inline std::vector<std::string_view> views_of(const std::vector<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

// A text of bytes that are hardly ever UTF-8.
inline std::string noise(size_t length, Random& random) {
  std::string bytes(length, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.below(256));
  return bytes;
}

}  // namespace samples
