// Vocabularies as files.
//
// A rank file, the format of tiktoken, has a line for each token with its bytes in base64, a space and its
// rank; it is read and written. A list of merges, the format of GPT-2's vocab.bpe and Hugging Face's
// merges.txt, has a line for each merge with the two tokens that it joins, every byte spelled as a visible
// character (a space as U+0120); it is read.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

/// A file's worth of tokens; owns the bytes that a Vocabulary::Entry only views.
struct RankedToken {
  std::string bytes;
  TokenId rank;
};

/// Throws FormatError naming the line. Empty lines and a carriage return before the line's end are allowed.
[[nodiscard]] std::vector<RankedToken> parse_rank_file(std::string_view contents);

/// The tokens that a list of merges makes: the 256 single bytes in GPT-2's order, then one for each merge.
/// The first line may be a comment that begins with "#version". Throws FormatError naming the line: a
/// spelling of no bytes, a merge of tokens that no line before has made, or one that makes a token again.
[[nodiscard]] std::vector<RankedToken> parse_merges_file(std::string_view contents);

/// The file's bytes. Throws IoError.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

/// Throws what parse_rank_file and Vocabulary's constructor throw.
[[nodiscard]] Vocabulary vocabulary_from_ranks(const std::vector<RankedToken>& tokens);

/// The rank file of a vocabulary, lowest rank first.
[[nodiscard]] std::string format_rank_file(const Vocabulary& vocabulary);

}  // namespace gpt2x::bpe
