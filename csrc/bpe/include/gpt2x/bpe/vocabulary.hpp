// A byte-level vocabulary: which bytes each token stands for, and which token two tokens merge into.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "gpt2x/bpe/byte_pool.hpp"
#include "gpt2x/bpe/pair_map.hpp"
#include "gpt2x/bpe/types.hpp"

namespace gpt2x::bpe {

/// Immutable once made, so that threads may share it.
///
/// Ids are ranks: of two possible merges the one that makes the smaller id comes first. Any two tokens whose
/// bytes put together are a token may merge (tiktoken's rule). A list of merges can say less, but not for a
/// vocabulary that was learned by merging, where the other splits of a token are never reached.
class Vocabulary {
 public:
  struct Entry {
    std::string_view bytes;
    TokenId id;
  };

  /// Ids stay below this, so that one wrong id in a file cannot ask for gigabytes. The largest vocabularies
  /// in use have a quarter of a million.
  static constexpr TokenId kMaxSize = 1u << 24;

  /// Throws FormatError: an id or a token that occurs twice, an empty token, an id of kMaxSize or more, or
  /// one of the 256 single bytes missing.
  explicit Vocabulary(std::span<const Entry> entries);

  /// One more than the largest id.
  [[nodiscard]] TokenId size() const { return static_cast<TokenId>(tokens_.number_limit()); }

  /// The bytes of a token; empty if there is none with that id.
  [[nodiscard]] std::string_view bytes_of(TokenId id) const { return tokens_[id]; }

  /// The token with exactly these bytes, or kNoToken.
  [[nodiscard]] TokenId find(std::string_view bytes) const { return tokens_.find(bytes); }

  [[nodiscard]] TokenId token_of_byte(char byte) const {
    return byte_tokens_[static_cast<std::uint8_t>(byte)];
  }

  /// The token that a pair merges into, which is also the merge's rank, or kNoToken.
  [[nodiscard]] TokenId merged(TokenPair pair) const { return merges_.find(pair); }

 private:
  void add_token(const Entry& entry);
  void find_byte_tokens();
  void find_merges();

  BytePool tokens_;
  PairMap merges_;
  std::array<TokenId, 256> byte_tokens_{};
};

/// Bytes for an error message: in double quotes, unprintable ones as \xNN, long ones cut.
[[nodiscard]] std::string quoted(std::string_view bytes);

}  // namespace gpt2x::bpe
