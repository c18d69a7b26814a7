#include "gpt2x/bpe/internal/splitter.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels.hpp"

namespace gpt2x::bpe {

static_assert(Splitter::kWindow % 64 == 0);

Splitter::Splitter(Pattern pattern, std::string_view text, bool wellformed, StopFlag& stop)
    : pattern_(pattern), text_(text), stop_(stop), by_blocks_(wellformed && pattern == Pattern::kGpt2) {}

bool Splitter::next() {
  stop_.check();
  start_ = next_start_;
  if (start_ == text_.size()) return false;
  return by_blocks_ ? next_by_blocks() : next_by_bytes();
}

// A window may hold no end at all, inside a long piece. Pieces start where others end, but for the first.
bool Splitter::next_by_blocks() {
  static_assert(sizeof buffer_ >= sizeof(std::uint32_t) * (kWindow + 1 + kStartsSlack));
  std::size_t skipped = 0;
  std::size_t count = 0;
  while (count == skipped) {
    stop_.check();
    base_ = seen_;
    seen_ = std::min(base_ + kWindow, text_.size());
    count = kernels().find_starts(carry_, text_, base_, seen_, buffer_.data());
    skipped = base_ == 0 ? 1 : 0;
    if (seen_ == text_.size()) {
      buffer_[count++] = static_cast<std::uint32_t>(seen_ - base_);
      break;
    }
  }
  ends_ = std::span(buffer_).subspan(skipped, count - skipped);
  next_start_ = base_ + ends_.back();
  return true;
}

bool Splitter::next_by_bytes() {
  base_ = start_;
  std::array<std::size_t, 512> ends;
  std::size_t count = next_piece_ends(pattern_, text_, start_, ends);
  constexpr std::size_t kMostBytes = std::numeric_limits<std::uint32_t>::max();
  while (count > 1 && ends[count - 1] - base_ > kMostBytes) --count;  // those are found again
  if (ends[0] - base_ > kMostBytes) {
    throw std::length_error("a piece of 4 GiB or more, at byte " + std::to_string(start_));
  }
  std::transform(ends.begin(), ends.begin() + static_cast<std::ptrdiff_t>(count), buffer_.begin(),
                 [&](std::size_t end) { return static_cast<std::uint32_t>(end - base_); });
  ends_ = std::span(buffer_).first(count);
  next_start_ = ends[count - 1];
  return true;
}

}  // namespace gpt2x::bpe
