// Merging one piece: from its bytes to its tokens.
//
// The rule: while any two neighbours can merge, merge the pair of lowest rank, the leftmost one first. Two
// algorithms carry it out, equal in result (a test holds them equal). Scanning all neighbours for the lowest
// rank is quadratic but stays in a few cache lines, and wins for words; a heap costs n log n whatever the
// piece, and wins for the rest.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/types.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

/// The longest piece, in bytes, that is merged by scanning. With GPT-2's vocabulary the two break even at
/// about 64, for random letters, for one letter repeated and for other scripts alike.
inline constexpr std::size_t kMaxScanBytes = 64;

/// Appends the tokens of a piece: the one that is the whole piece if there is one (even where merges would
/// not lead to it, as tiktoken does), else what merging its bytes gives. Throws std::length_error for a piece
/// of 4 GiB or more.
void encode_piece(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& tokens);

/// The two algorithms behind encode_piece; `piece` must not be longer than kMaxScanBytes for the first.
void merge_by_scan(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& tokens);
void merge_by_heap(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& tokens);

}  // namespace gpt2x::bpe
