// Walking through the pieces of a text, a few kilobytes at a time.
//
// Splitting is the first stage of a pipeline: the stages behind it (hashing, looking up, emitting tokens) run
// over many pieces at once, each in a tight loop of its own. For GPT-2's pattern and well-formed UTF-8 the
// pieces come from 64-byte blocks (split_blocks.hpp); anything else goes through next_piece_ends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/stop_flag.hpp"

namespace gpt2x::bpe {

/// What a block of 64 bytes needs to know of the block before it. Classes are 0 or 1: what the last byte was.
struct BlockCarry {
  std::uint64_t letter = 0;
  std::uint64_t number = 0;
  std::uint64_t other = 0;
  std::uint64_t white = 0;
  std::uint64_t blank = 0;
  std::uint64_t inside_contraction = 0;  // bits of the next block where no piece starts
  std::uint64_t behind_contraction = 0;  // bits of the next block where one does
};

class Splitter {
 public:
  /// How many bytes are looked at in one step, so that what is found fits the first-level cache.
  static constexpr std::size_t kWindow = 4096;

  /// `text` must outlive the splitter. `wellformed` promises that it is well-formed UTF-8 (valid_utf8_prefix
  /// is all of it); without that promise the text is split byte by byte.
  Splitter(Pattern pattern, std::string_view text, bool wellformed, StopFlag& stop = never_stopped);

  /// Finds the next pieces; false if there are none left. Throws Stopped, and std::length_error for a piece
  /// of 4 GiB or more where text is split byte by byte.
  bool next();

  /// Where the first of the pieces that next() found starts.
  [[nodiscard]] std::size_t start() const { return start_; }

  /// Where they end, relative to base(); one piece's end is the next one's start. Never empty after next().
  [[nodiscard]] std::span<const std::uint32_t> ends() const { return ends_; }
  [[nodiscard]] std::size_t base() const { return base_; }

 private:
  bool next_by_blocks();
  bool next_by_bytes();

  Pattern pattern_;
  std::string_view text_;
  StopFlag& stop_;
  bool by_blocks_;
  std::size_t start_ = 0;
  std::size_t base_ = 0;
  std::size_t seen_ = 0;        // bytes looked at
  std::size_t next_start_ = 0;  // where the piece behind the last one found starts
  std::span<const std::uint32_t> ends_;
  BlockCarry carry_;
  std::array<std::uint32_t, kWindow + 32> buffer_;  // not set: there is nothing to see before next()
};

/// Calls `use(piece)` for every piece of any bytes, in order.
template <typename Function>
void for_each_piece(Pattern pattern, std::string_view text, Function&& use) {
  Splitter splitter(pattern, text, valid_utf8_prefix(text) == text.size());
  while (splitter.next()) {
    std::size_t start = splitter.start();
    for (const std::uint32_t relative_end : splitter.ends()) {
      const std::size_t end = splitter.base() + relative_end;
      use(std::string_view(text.data() + start, end - start));
      start = end;
    }
  }
}

}  // namespace gpt2x::bpe
