// Dividing a long text, so that several threads can share it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/tokenizer.hpp"

namespace gpt2x::bpe {

/// The least that is worth a thread of its own, in characters.
inline constexpr std::size_t kLeastShare = std::size_t{1} << 20;

/// How much of texts of this size together one of so many threads takes at a time: a quarter of what falls to
/// it, so that unequal texts even out.
[[nodiscard]] std::size_t share_of(std::size_t total, unsigned num_threads);

/// Where the parts of a text end, each of which can be encoded by itself: the last end is the text's, also of
/// an empty one. Each part has `share` characters and as many more as there are up to a place to cut
/// (find_safe_cut) that no spelling of a special token reaches across. `Char` is char, for valid UTF-8, or as
/// for to_utf8.
template <typename Char>
[[nodiscard]] std::vector<std::size_t> find_shares(Pattern pattern, std::span<const Char> text,
                                                   const SpecialTokens* specials, std::size_t share);

}  // namespace gpt2x::bpe
