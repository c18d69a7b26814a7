// Cutting text into pieces, as a splitting pattern says; merges never cross a piece's end.
//
// Pieces follow each other without gaps, so only their ends are of interest. splitter.hpp walks through a
// text with the fastest means for it.
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
  /// GPT-3.5 and GPT-4; spelled out in src/split_cl100k.cpp.
  kCl100k,
  /// GPT-4o and later; spelled out in src/split_o200k.cpp.
  kO200k,
  /// Llama 3, and GPT-4 as Hugging Face spells it: cl100k but for white space at the end of a text.
  kLlama3,
  /// Qwen 2 and later: llama3 with each digit by itself.
  kQwen2,
  /// DeepSeek-V3: three splits, one within the other; spelled out in src/split_deepseek.cpp.
  kDeepseek,
};

/// The names that pattern_from_name knows, in the order of Pattern.
inline constexpr std::array<std::string_view, 6> kPatternNames{"gpt2",   "cl100k", "o200k",
                                                               "llama3", "qwen2",  "deepseek"};

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

}  // namespace gpt2x::bpe
