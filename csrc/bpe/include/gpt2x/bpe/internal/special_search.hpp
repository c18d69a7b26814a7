// Finding special tokens in a text.
//
// Where several begin, the leftmost counts, and of those that begin there the longest. Finding them takes
// time linear in the text, however many there are and however they overlap. Looking for all of them from left
// to right cannot promise that: after `<a>` in `<a><a><a>…` the search for a longer token that did not come
// would have to begin again behind the first `>`. So the text is read from right to left, by an Aho-Corasick
// automaton of the tokens spelled backwards: the longest spelling that ends in what has been read is the
// longest token that begins at this place of the text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "gpt2x/bpe/stop_flag.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

/// What SpecialTokens holds.
class SpecialAutomaton {
 public:
  /// Throws what SpecialTokens's constructor throws.
  explicit SpecialAutomaton(std::span<const Vocabulary::Entry> tokens);

  [[nodiscard]] std::size_t size() const { return tokens_.size(); }

  [[nodiscard]] TokenId largest_id() const { return largest_id_; }
  [[nodiscard]] std::size_t longest() const { return longest_; }

 private:
  template <typename Char>
  friend class SpecialSearch;

  using Node = std::uint32_t;
  static constexpr Node kRoot = 0;
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  struct Token {
    std::uint32_t num_bytes;
    std::uint32_t num_chars;
    TokenId id;
  };

  std::vector<Node> add_nodes(std::span<const Vocabulary::Entry> tokens);
  void add_fallbacks(std::span<const Node> parents);
  void find_endings(std::span<const Vocabulary::Entry> tokens);
  [[nodiscard]] Node child(Node node, std::uint8_t byte) const;

  /// The node of the longest spelling's beginning that ends in what `node` stands for and then `byte`.
  [[nodiscard]] Node next(Node node, std::uint8_t byte) const {
    for (; node != kRoot; node = fallbacks_[node]) {
      if (const Node found = child(node, byte); found != kRoot) return found;
    }
    return root_children_[byte];
  }

  // Nodes in the order of their depth; those with the same parent stand side by side, in the order of their
  // labels.
  std::vector<Node> first_children_;           // and one more, where the last one's end
  std::vector<std::uint8_t> labels_;           // the byte that leads to a node
  std::vector<Node> fallbacks_;                // the longest other node that this one's spelling ends in
  std::vector<std::uint32_t> longest_tokens_;  // the longest token that this one's spelling ends in, or kNone
  std::array<Node, 256> root_children_{};

  std::vector<Token> tokens_;
  std::size_t longest_ = 0;
  TokenId largest_id_ = 0;

  // How tokens end: with two bytes if there are few such pairs, else with one. Text without these endings is
  // passed over, and if there are few of them, a block at a time.
  struct Ending {
    std::uint8_t before;
    std::uint8_t last;
    friend bool operator==(const Ending&, const Ending&) = default;
  };
  static constexpr std::size_t kFewEndings = 4;
  std::array<bool, 256> is_last_byte_{};
  std::array<Ending, kFewEndings> endings_{};
  std::size_t num_endings_ = 0;     // 0 if there are too many
  bool endings_are_pairs_ = false;  // otherwise only `last` counts
  bool endings_are_ascii_ = true;
  bool has_non_ascii_last_byte_ = false;
};

/// Finds the special tokens of a text, from left to right. `Char` is char for bytes (of UTF-8, most often),
/// or the type of a code point (std::uint8_t, char16_t, char32_t); what is found is counted in these.
template <typename Char>
class SpecialSearch {
 public:
  struct Match {
    std::size_t start;
    std::size_t end;
    std::uint32_t index;  // of the token among those that SpecialTokens was made of
    TokenId id;
  };

  /// The tokens, the text and the flag must outlive the search.
  SpecialSearch(const SpecialTokens& tokens, std::span<const Char> text, std::size_t start = 0,
                StopFlag& stop = never_stopped);

  /// The next one behind the one before. Throws Stopped.
  std::optional<Match> next();

  /// Where the first token ends that begins before `place` and ends behind it, be it hidden by another one or
  /// not; 0 if there is none. For a search that has found nothing yet.
  [[nodiscard]] std::size_t end_of_token_across(std::size_t place);

 private:
  struct Candidate {
    std::size_t start;
    std::uint32_t index;
  };

  void scan_next_part();
  void scan(std::size_t begin, std::size_t end, std::size_t readable_end);
  [[nodiscard]] std::size_t end_of(const Candidate& candidate) const;
  [[nodiscard]] std::size_t skip(std::size_t begin, std::size_t end) const;
  template <std::size_t kCount, bool kPairs>
  [[nodiscard]] std::size_t skip_blocks(std::size_t begin, std::size_t end) const;
  [[nodiscard]] bool may_end_token(Char c) const;

  const SpecialAutomaton& tokens_;
  std::span<const Char> text_;
  StopFlag& stop_;
  std::size_t done_;              // behind the last match
  std::size_t scanned_;           // where the part that was scanned last ends
  std::size_t part_size_;         // of the next part
  std::vector<Candidate> found_;  // the longest token at each place of that part that has one, the first last
};

}  // namespace gpt2x::bpe
