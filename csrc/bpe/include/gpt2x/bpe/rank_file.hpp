// Rank files, the format of tiktoken: a line for each token with its bytes in base64, a space and its rank.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/types.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

/// A file's worth of tokens; owns the bytes that a Vocabulary::Entry only views.
struct RankedToken {
  std::string bytes;
  TokenId rank;
};

/// Throws FormatError naming the line. Empty lines and a carriage return before the line's end are allowed.
[[nodiscard]] std::vector<RankedToken> parse_rank_file(std::string_view contents);

/// The file's bytes. Throws IoError.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

/// Throws what parse_rank_file and Vocabulary's constructor throw.
[[nodiscard]] Vocabulary vocabulary_from_ranks(const std::vector<RankedToken>& tokens);

/// The rank file of a vocabulary, lowest rank first.
[[nodiscard]] std::string format_rank_file(const Vocabulary& vocabulary);

}  // namespace gpt2x::bpe
