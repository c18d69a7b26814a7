// Cutting text into pieces, as a splitting pattern says; merges never cross a piece's end.
//
// Pieces follow each other without gaps, so only their ends are of interest, and they are found many at a
// time: the caller's loop stays tight, and a splitter that looks at 64 bytes at once fits behind the same
// function.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace gpt2x::bpe {

enum class Pattern : std::uint8_t {
  /// GPT-2: `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
  kGpt2,
};

/// The names that pattern_from_name knows.
inline constexpr std::array<std::string_view, 1> kPatternNames{"gpt2"};

/// Throws std::invalid_argument for a name that is not in kPatternNames.
[[nodiscard]] Pattern pattern_from_name(std::string_view name);

/// Writes where the pieces from `start` on end, until `ends` is full or the text is at its end; returns how
/// many. `start` must be where a piece starts: 0, or an end given before. Linear in the bytes that are passed
/// over, and the look-ahead of `\s+(?!\S)` passes over a run of white space once.
std::size_t next_piece_ends(Pattern pattern, std::string_view text, std::size_t start,
                            std::span<std::size_t> ends);

/// A position at or after `from` where a piece starts whatever comes before and after, or the text's end:
/// what is left and right of it can be split on its own.
[[nodiscard]] std::size_t find_safe_cut(Pattern pattern, std::string_view text, std::size_t from);

/// Calls `use(piece)` for every piece in order.
template <typename Function>
void for_each_piece(Pattern pattern, std::string_view text, Function&& use) {
  std::array<std::size_t, 512> ends;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t num_ends = next_piece_ends(pattern, text, start, ends);
    for (const std::size_t end : std::span(ends).first(num_ends)) {
      use(std::string_view(text.data() + start, end - start));
      start = end;
    }
  }
}

}  // namespace gpt2x::bpe
