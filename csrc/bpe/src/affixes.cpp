#include "affixes.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gpt2x::bpe {
namespace {

// Two directions to read bytes in. `word` gives the eight bytes behind the first `at`, zeros where there are
// none, as a number: in the order in which they are read, numbers compare as bytes do.
struct Forwards {
  static std::uint64_t word(std::string_view bytes, std::size_t at) {
    return __builtin_bswap64(BytePool::load_head(bytes.substr(at)));
  }
  static bool begins_with(std::string_view bytes, std::string_view other) { return bytes.starts_with(other); }
};

struct Backwards {
  static std::uint64_t word(std::string_view bytes, std::size_t at) {
    bytes.remove_suffix(at);
    if (bytes.size() >= 8) return BytePool::load_head(bytes.substr(bytes.size() - 8));
    return BytePool::load_head(bytes) << 8 * (8 - bytes.size());
  }
  static bool begins_with(std::string_view bytes, std::string_view other) { return bytes.ends_with(other); }
};

// Whether `left` comes before `right`, both of which have bytes. Where all words are the same, the longer one
// has only zeros more.
template <typename Direction>
bool comes_before(std::string_view left, std::string_view right) {
  const std::size_t both = std::min(left.size(), right.size());
  for (std::size_t at = 0; at < both; at += 8) {
    const std::uint64_t left_word = Direction::word(left, at);
    const std::uint64_t right_word = Direction::word(right, at);
    if (left_word != right_word) return left_word < right_word;
  }
  return left.size() < right.size();
}

// All tokens by their bytes. Merging puts one token in its place with each comparison, which reads no more
// than that token has; other ways to sort may compare two long ones again and again.
template <typename Direction>
std::vector<TokenId> in_order(const BytePool& tokens) {
  struct Token {
    std::uint64_t first_word;  // decides nearly always
    TokenId id;
  };
  std::vector<Token> sorted;
  sorted.reserve(tokens.size());
  for (TokenId id = 0; id < tokens.number_limit(); ++id) {
    if (!tokens[id].empty()) sorted.push_back({Direction::word(tokens[id], 0), id});
  }
  std::ranges::stable_sort(sorted, [&](const Token& left, const Token& right) {
    if (left.first_word != right.first_word) return left.first_word < right.first_word;
    return comes_before<Direction>(tokens[left.id], tokens[right.id]);
  });
  std::vector<TokenId> ids;
  ids.reserve(sorted.size());
  for (const Token& token : sorted) ids.push_back(token.id);
  return ids;
}

// What the token before begins with, and that token itself, are all that a token can begin with. From the
// longest on, those that it does not begin with are left behind, since no later one does either.
template <typename Direction>
std::vector<TokenId> longest_beginnings(const BytePool& tokens) {
  std::vector<TokenId> longest(tokens.number_limit(), kNoToken);
  TokenId candidate = kNoToken;
  for (const TokenId id : in_order<Direction>(tokens)) {
    while (candidate != kNoToken && !Direction::begins_with(tokens[id], tokens[candidate])) {
      candidate = longest[candidate];
    }
    longest[id] = candidate;
    candidate = id;
  }
  return longest;
}

}  // namespace

std::vector<TokenId> longest_prefixes(const BytePool& tokens) {
  return longest_beginnings<Forwards>(tokens);
}

std::vector<TokenId> longest_suffixes(const BytePool& tokens) {
  return longest_beginnings<Backwards>(tokens);
}

}  // namespace gpt2x::bpe
