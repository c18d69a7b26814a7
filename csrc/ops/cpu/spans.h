// Many tensors as one list of spans of equal size, so that threads share the work whatever the tensors'
// sizes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace gpt2x::cpu {

constexpr int64_t kSpanElements = 32768;

struct Span {
  size_t tensor;
  int64_t begin;
  int64_t length;
};

inline std::vector<Span> cut_into_spans(const std::vector<int64_t>& sizes) {
  std::vector<Span> spans;
  for (size_t tensor = 0; tensor < sizes.size(); ++tensor) {
    for (int64_t begin = 0; begin < sizes[tensor]; begin += kSpanElements) {
      spans.push_back({tensor, begin, std::min(kSpanElements, sizes[tensor] - begin)});
    }
  }
  return spans;
}

}  // namespace gpt2x::cpu
