// Merging one piece: from its bytes to its tokens.
//
// The rule: while any two neighbours can merge, merge the pair of lowest rank, the leftmost one first. Four
// algorithms carry it out, equal in result (a test holds them equal). Scanning for the lowest rank stays in a
// few cache lines, and wins for words. A heap costs n log n whatever the piece. Windows of a few words put
// together cost n, where the vocabulary allows to say which tokens may stand side by side, and no more than
// the heap where what stands far behind decides how a window begins. Of a long repetition (one letter a
// million times) a short part is merged, whatever the vocabulary, and its tokens are repeated.
#pragma once

#include <cstddef>
#include <string_view>

#include "gpt2x/bpe/internal/vocabulary_tables.hpp"
#include "gpt2x/bpe/stop_flag.hpp"

namespace gpt2x::bpe {

/// The longest piece, in bytes, that is merged by scanning.
inline constexpr std::size_t kMaxScanBytes = 64;

/// Writes the tokens of a piece to `out`, a buffer of one for each byte, and returns where they end:
/// the token that is the whole piece if there is one (even where merges would not lead to it, as tiktoken
/// does), else what merging its bytes gives. Throws Stopped, and std::length_error for 4 GiB or more that
/// only the heap can merge.
TokenId* encode_piece(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out,
                      StopFlag& stop = never_stopped);

/// What merges of a rank below the limit give, by whichever of the first two ways below fits the size.
TokenId* merge_bytes(const VocabularyTables& vocabulary, std::string_view bytes, TokenId* out,
                     TokenId rank_limit = kNoToken, StopFlag& stop = never_stopped);

/// The ways to do it. Scanning is for pieces of up to kMaxScanBytes, windows for consistent vocabularies, and
/// repeating for pieces of any size: what does not repeat itself is merged in one of the other ways.
TokenId* merge_by_scan(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out,
                       TokenId rank_limit = kNoToken);
TokenId* merge_by_heap(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out,
                       TokenId rank_limit = kNoToken, StopFlag& stop = never_stopped);
TokenId* merge_by_windows(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out,
                          StopFlag& stop = never_stopped);
TokenId* merge_by_repeating(const VocabularyTables& vocabulary, std::string_view piece, TokenId* out,
                            StopFlag& stop = never_stopped);

}  // namespace gpt2x::bpe
