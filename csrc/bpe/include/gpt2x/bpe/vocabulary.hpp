// A byte-level vocabulary: which bytes each token stands for, and which token two tokens merge into.
//
// The words of the whole core: text is bytes (std::string_view, not always UTF-8), a *piece* is what the
// pretokenizer cuts from it, a *token* is an id or its bytes, a *pair* is two ids that stand side by side,
// and a pair's *rank* is the id that merging it makes: the lower the rank, the earlier the merge.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>

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

class VocabularyTables;

/// Immutable once made, so that threads may share it; copies share what they hold.
///
/// Ids are ranks: of two possible merges the one that makes the smaller id comes first. Any two tokens whose
/// bytes put together are a token may merge (tiktoken's rule).
///
/// A vocabulary that was learned by merging is *consistent*: the bytes of each token merge into that token,
/// and do so through tokens of smaller ids. Then there is one pair for each token that ever merges into it.
class Vocabulary {
 public:
  struct Entry {
    std::string_view bytes;
    TokenId id;
  };

  /// Ids stay below this, so that one wrong id in a file cannot ask for gigabytes. The largest vocabularies
  /// in use have a quarter of a million.
  static constexpr TokenId kMaxSize = 1u << 24;

  /// Copies the bytes. Throws FormatError: an id or a token that occurs twice, an empty token, an id of
  /// kMaxSize or more, or one of the 256 single bytes missing.
  explicit Vocabulary(std::span<const Entry> entries);

  // Moving copies, so that no vocabulary is ever without its tables.
  Vocabulary(const Vocabulary&) = default;
  Vocabulary& operator=(const Vocabulary&) = default;

  /// One more than the largest id.
  [[nodiscard]] TokenId size() const;

  /// The bytes of a token; empty if there is none with that id.
  [[nodiscard]] std::string_view bytes_of(TokenId id) const;

  /// The token with exactly these bytes, or kNoToken.
  [[nodiscard]] TokenId find(std::string_view bytes) const;

  /// The token that a pair merges into, which is also the merge's rank, or kNoToken. In a consistent
  /// vocabulary that is for each token the one pair that ever does; others are said not to merge.
  [[nodiscard]] TokenId merged(TokenPair pair) const;

  /// See above.
  [[nodiscard]] bool is_consistent() const;

  /// What encoding reads, for the core itself.
  [[nodiscard]] const VocabularyTables& tables() const { return *tables_; }

 private:
  std::shared_ptr<const VocabularyTables> tables_;
};

}  // namespace gpt2x::bpe
