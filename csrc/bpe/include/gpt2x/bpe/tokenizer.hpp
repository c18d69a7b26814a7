// Text to tokens and back: a vocabulary and the pattern that its text is split by.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/types.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

/// Immutable once made, so that threads may share it. Knows nothing of special tokens: they are the caller's.
class Tokenizer {
 public:
  Tokenizer(Vocabulary vocabulary, Pattern pattern);

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }
  [[nodiscard]] Pattern pattern() const { return pattern_; }

  /// The tokens of a text. Bytes that are no UTF-8 give what tiktoken's `_encode_bytes` gives: the valid part
  /// is encoded, and its last piece is merged again together with all that follows.
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text) const;

  /// encode(text).size(), without holding the tokens.
  [[nodiscard]] std::size_t count(std::string_view text) const;

  /// Every text's tokens, on `num_threads` threads (0: one for each core). Same result for any number.
  [[nodiscard]] std::vector<std::vector<TokenId>> encode_batch(std::span<const std::string_view> texts,
                                                               unsigned num_threads) const;

  /// The bytes of all tokens, one after the other. Throws UnknownTokenError naming the first unknown id.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids) const;

 private:
  std::size_t append_pieces(std::string_view text, std::vector<TokenId>& tokens) const;
  void remerge_tail(std::string_view text, std::size_t valid, std::size_t num_last,
                    std::vector<TokenId>& tokens) const;

  Vocabulary vocabulary_;
  Pattern pattern_;
};

}  // namespace gpt2x::bpe
