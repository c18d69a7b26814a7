// The core once more, as plainly as it can be said and without regard to speed: what the tests and the fuzzer
// hold the real one against. Only the decoding of UTF-8 and the class table are shared; those are tested by
// themselves.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gpt2x/bpe/trainer.hpp"
#include "gpt2x/bpe/types.hpp"
#include "gpt2x/bpe/unicode.hpp"

namespace reference {

using gpt2x::bpe::CharClass;
using gpt2x::bpe::Merge;
using gpt2x::bpe::TokenId;

// ---------------------------------------------------------------------------------------------------------------------
// Splitting: GPT-2's pattern, one alternative after the other, as a backtracking engine would try them.

struct Character {
  CharClass char_class;
  std::string bytes;
};

inline std::vector<Character> characters(std::string_view text) {
  std::vector<Character> result;
  for (std::size_t pos = 0; pos < text.size();) {
    const auto [code_point, length] = gpt2x::bpe::decode_utf8(text, pos);
    result.push_back({gpt2x::bpe::char_class(code_point), std::string(text.substr(pos, length))});
    pos += length;
  }
  return result;
}

/// How many characters the pattern matches at `start`.
inline std::size_t match(const std::vector<Character>& text, std::size_t start) {
  const auto run = [&](std::size_t from, CharClass wanted) {
    std::size_t end = from;
    while (end < text.size() && text[end].char_class == wanted) ++end;
    return end - from;
  };
  const auto literal = [&](std::string_view wanted) {
    std::string here;
    for (std::size_t i = start; i < text.size() && here.size() < wanted.size(); ++i) here += text[i].bytes;
    return here == wanted;
  };
  for (const std::string_view contraction : {"'s", "'d", "'m", "'t", "'ll", "'ve", "'re"}) {
    if (literal(contraction)) return contraction.size();
  }
  for (const CharClass wanted : {CharClass::kLetter, CharClass::kNumber, CharClass::kOther}) {
    for (const std::size_t blank : {1, 0}) {  // ` ?` takes the blank if it can
      if (blank == 1 && text[start].bytes != " ") continue;
      if (const std::size_t length = run(start + blank, wanted)) return blank + length;
    }
  }
  const std::size_t spaces = run(start, CharClass::kSpace);
  for (std::size_t length = spaces; length > 0; --length) {  // `\s+(?!\S)`
    const std::size_t after = start + length;
    if (after == text.size() || text[after].char_class == CharClass::kSpace) return length;
  }
  return spaces;
}

inline std::vector<std::string> split(std::string_view text) {
  const std::vector<Character> all = characters(text);
  std::vector<std::string> pieces;
  for (std::size_t start = 0; start < all.size();) {
    const std::size_t length = match(all, start);
    std::string piece;
    for (std::size_t i = start; i < start + length; ++i) piece += all[i].bytes;
    pieces.push_back(piece);
    start += length;
  }
  return pieces;
}

// ---------------------------------------------------------------------------------------------------------------------
// Encoding

using Ranks = std::map<std::string, TokenId, std::less<>>;

/// Merge the leftmost of the pairs of lowest rank until there is none.
inline std::vector<TokenId> merge(const Ranks& ranks, std::string_view piece) {
  std::vector<std::string> parts;
  for (const char byte : piece) parts.emplace_back(1, byte);
  while (true) {
    std::optional<std::pair<TokenId, std::size_t>> best;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found != ranks.end() && (!best || found->second < best->first)) best = {found->second, i};
    }
    if (!best) break;
    const auto at = parts.begin() + static_cast<std::ptrdiff_t>(best->second);
    *at += *(at + 1);
    parts.erase(at + 1);
  }
  std::vector<TokenId> tokens;
  for (const std::string& part : parts) tokens.push_back(ranks.find(part)->second);
  return tokens;
}

inline std::vector<TokenId> encode_piece(const Ranks& ranks, std::string_view piece) {
  if (const auto whole = ranks.find(piece); whole != ranks.end()) return {whole->second};
  return merge(ranks, piece);
}

/// tiktoken's `_encode_bytes`, step by step.
inline std::vector<TokenId> encode(const Ranks& ranks, std::string_view text) {
  std::map<TokenId, std::string> bytes_of;
  for (const auto& [bytes, rank] : ranks) bytes_of[rank] = bytes;

  std::size_t valid = 0;
  while (valid < text.size()) {
    const auto [code_point, length] = gpt2x::bpe::decode_utf8(text, valid);
    if (length == 1 && code_point >= 0x80) break;
    valid += length;
  }
  std::vector<TokenId> tokens;
  std::size_t num_last = 0;
  for (const std::string& piece : split(text.substr(0, valid))) {
    const std::vector<TokenId> of_piece = encode_piece(ranks, piece);
    tokens.insert(tokens.end(), of_piece.begin(), of_piece.end());
    num_last = of_piece.size();
  }
  if (valid == text.size()) return tokens;

  const auto blank = [&](TokenId token) {
    return bytes_of[token].find_first_not_of(" \n\t") == std::string::npos;
  };
  if (num_last > 0 && blank(tokens[tokens.size() - num_last])) {
    while (num_last < tokens.size() && blank(tokens[tokens.size() - num_last - 1])) ++num_last;
  }
  std::string unstable;
  for (std::size_t i = tokens.size() - num_last; i < tokens.size(); ++i) unstable += bytes_of[tokens[i]];
  unstable += text.substr(valid);
  tokens.resize(tokens.size() - num_last);
  const std::vector<TokenId> of_rest = encode_piece(ranks, unstable);
  tokens.insert(tokens.end(), of_rest.begin(), of_rest.end());
  return tokens;
}

// ---------------------------------------------------------------------------------------------------------------------
// Training: count every pair anew for every merge.

inline std::vector<Merge> learn(const std::vector<std::pair<std::string, std::uint64_t>>& pieces,
                                std::size_t num_merges, std::uint64_t min_frequency = 1) {
  const auto byte_order = gpt2x::bpe::gpt2_byte_order();
  std::vector<std::vector<TokenId>> words;
  for (const auto& [piece, count] : pieces) {
    std::vector<TokenId>& word = words.emplace_back();
    for (const char byte : piece) {
      const auto place = std::find(byte_order.begin(), byte_order.end(), static_cast<std::uint8_t>(byte));
      word.push_back(static_cast<TokenId>(place - byte_order.begin()));
    }
  }

  std::vector<Merge> merges;
  while (merges.size() < num_merges) {
    std::map<std::pair<TokenId, TokenId>, std::uint64_t> counts;
    for (std::size_t w = 0; w < words.size(); ++w) {
      for (std::size_t i = 0; i + 1 < words[w].size(); ++i)
        counts[{words[w][i], words[w][i + 1]}] += pieces[w].second;
    }
    // The map is in ascending order, so the first of the highest is the smallest pair.
    const auto best = std::max_element(counts.begin(), counts.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    if (best == counts.end() || best->second == 0 || best->second < min_frequency) break;
    const auto [left, right] = best->first;
    const auto merged = static_cast<TokenId>(256 + merges.size());
    merges.push_back({left, right, best->second});
    for (std::vector<TokenId>& word : words) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) {
        if (word[i] != left || word[i + 1] != right) continue;
        word[i] = merged;
        word.erase(word.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    }
  }
  return merges;
}

}  // namespace reference
