// The few words that every part of the tokenizer core uses.
//
// Text is bytes (std::string_view, not always UTF-8), a *piece* is what the pretokenizer cuts from it, a
// *token* is an id or its bytes, a *pair* is two ids that stand side by side, and a pair's *rank* is the id
// that merging it makes: the lower the rank, the earlier the merge.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace gpt2x::bpe {

using TokenId = std::uint32_t;

/// No token has this id; as a rank it is worse than any.
inline constexpr TokenId kNoToken = std::numeric_limits<TokenId>::max();

/// Two neighbours, ordered by the left id, then the right.
struct TokenPair {
  TokenId left;
  TokenId right;

  friend auto operator<=>(const TokenPair&, const TokenPair&) = default;
};

}  // namespace gpt2x::bpe
