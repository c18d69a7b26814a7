// Which tokens a token starts with, and which it ends with.
//
// In the order of their bytes, all tokens that start with one stand right behind it. So one sort and one pass
// find for each token the longest other one that it starts with; that one's own leads to the next shorter
// one, and so on: a chain of all of them, no longer than the token has bytes. The same with bytes read
// backwards gives those it ends with.
#pragma once

#include <vector>

#include "gpt2x/bpe/internal/byte_pool.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

/// By token: the longest other token that it starts with, or kNoToken. Time: n log n comparisons, none of
/// which reads more than the shorter of two tokens, so B log n at worst for B bytes in all.
std::vector<TokenId> longest_prefixes(const BytePool& tokens);

/// The same for those that it ends with.
std::vector<TokenId> longest_suffixes(const BytePool& tokens);

}  // namespace gpt2x::bpe
