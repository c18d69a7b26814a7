// What a Vocabulary holds, and what merging asks of it in its inner loops.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/internal/byte_pool.hpp"
#include "gpt2x/bpe/internal/pair_map.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

/// What merging asks for, as a few pointers that a loop can keep in registers. Valid as long as the
/// vocabulary.
struct MergeRules {
  const TokenId* byte_tokens;  // by byte
  const TokenId* byte_merges;  // what two bytes merge into; the first byte is the upper part of the index
  PairMap::View merges;        // what two tokens merge into
};

/// Immutable once made. For a consistent vocabulary much follows that makes encoding faster (can_follow,
/// joins). Whether it is consistent is found out here; one that is not is encoded correctly all the same,
/// without the shortcuts.
class VocabularyTables {
 public:
  using Entry = Vocabulary::Entry;
  static constexpr TokenId kMaxSize = Vocabulary::kMaxSize;

  /// Throws what Vocabulary's constructor throws.
  explicit VocabularyTables(std::span<const Entry> entries);

  /// One more than the largest id.
  [[nodiscard]] TokenId size() const { return static_cast<TokenId>(tokens_.number_limit()); }

  /// The bytes of a token; empty if there is none with that id.
  [[nodiscard]] std::string_view bytes_of(TokenId id) const { return tokens_[id]; }

  /// The token with exactly these bytes, or kNoToken.
  [[nodiscard]] TokenId find(std::string_view bytes) const { return tokens_.find(bytes); }

  /// Asks for the memory that find(bytes) will look at.
  void prefetch(std::string_view bytes) const { tokens_.prefetch(bytes); }

  [[nodiscard]] TokenId token_of_byte(char byte) const {
    return byte_tokens_[static_cast<std::uint8_t>(byte)];
  }

  /// The token that a pair merges into, which is also the merge's rank, or kNoToken. In a consistent
  /// vocabulary that is for each token the one pair that ever does; others are said not to merge.
  [[nodiscard]] TokenId merged(TokenPair pair) const { return merges_.find(pair); }

  /// The same for the tokens of two bytes.
  [[nodiscard]] TokenId merged_bytes(char left, char right) const {
    return byte_merges_[index_of(left, right)];
  }

  /// All of that for a loop.
  [[nodiscard]] MergeRules merge_rules() const {
    return {byte_tokens_.data(), byte_merges_.data(), merges_.view()};
  }

  /// See above.
  [[nodiscard]] bool is_consistent() const { return !parts_.empty(); }

  /// Whether two bytes stand side by side in any token. Where they do not, a piece can be cut between them:
  /// no merge will ever reach across.
  [[nodiscard]] bool joins(char left, char right) const {
    const std::size_t index = index_of(left, right);
    return joined_bytes_[index / 64] >> index % 64 & 1;
  }

  /// Writes every i from 1 to `size` for which bytes[i - 1] and bytes[i] do not join, and returns how many.
  /// There must be size + 1 bytes, and room for `size` cuts.
  std::size_t find_cuts(const char* bytes, std::size_t size, std::uint32_t* cuts) const {
    std::size_t count = 0;
    for (std::size_t i = 1; i <= size; ++i) {
      cuts[count] = static_cast<std::uint32_t>(i);
      count += joins(bytes[i - 1], bytes[i]) ? 0 : 1;
    }
    return count;
  }

  /// Whether merging the bytes of two tokens, put together, gives these two tokens. Tokens of which each can
  /// follow the one before are the tokens of their bytes. Only for a consistent vocabulary.
  [[nodiscard]] bool can_follow(TokenId left, TokenId right) const;

 private:
  static std::size_t index_of(char left, char right) {
    return std::size_t{static_cast<std::uint8_t>(left)} << 8 | static_cast<std::uint8_t>(right);
  }

  void add_token(const Entry& entry);
  void find_byte_tokens();
  void find_joined_bytes();
  bool find_consistent_merges();
  bool merge_tokens_of_length(std::span<const TokenId> ids);
  void add_merge(TokenPair parts, TokenId id);
  void find_all_merges();

  BytePool tokens_;
  PairMap merges_;
  std::array<TokenId, 256> byte_tokens_{};
  std::vector<TokenId> byte_merges_;         // by index_of
  std::vector<std::uint64_t> joined_bytes_;  // bits, by index_of
  std::vector<TokenPair> parts_;             // by token: the pair that merges into it; empty if inconsistent
};

}  // namespace gpt2x::bpe
