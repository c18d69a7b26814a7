// Lists of merges, the format of GPT-2's vocab.bpe and Hugging Face's merges.txt: a line for each merge with
// the two tokens that it joins, every byte spelled as a visible character (a space as U+0120).
#pragma once

#include <string_view>
#include <vector>

#include "gpt2x/bpe/rank_file.hpp"

namespace gpt2x::bpe {

/// The tokens that such a file makes: the 256 single bytes in GPT-2's order, then one for each merge. The
/// first line may be a comment that begins with "#version". Throws FormatError naming the line: a spelling of
/// no bytes, a merge of tokens that no line before has made, or one that makes a token again.
[[nodiscard]] std::vector<RankedToken> parse_merges_file(std::string_view contents);

}  // namespace gpt2x::bpe
