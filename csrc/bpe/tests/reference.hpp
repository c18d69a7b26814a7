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

#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/trainer.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace reference {

using gpt2x::bpe::CharCategory;
using gpt2x::bpe::CharClass;
using gpt2x::bpe::Merge;
using gpt2x::bpe::Pattern;
using gpt2x::bpe::TokenId;

// ---------------------------------------------------------------------------------------------------------------------
// Splitting: each pattern one alternative after the other, as a backtracking engine would try them.

struct Character {
  char32_t code_point;
  CharCategory category;
  std::string bytes;

  bool is(CharClass wanted) const { return class_of(category) == wanted; }
  bool is_newline() const { return bytes == "\r" || bytes == "\n"; }
};

using Characters = std::vector<Character>;

inline Characters characters(std::string_view text) {
  Characters result;
  for (std::size_t pos = 0; pos < text.size();) {
    const auto [code_point, length] = gpt2x::bpe::decode_utf8(text, pos);
    const CharCategory category = gpt2x::bpe::char_category(code_point);
    result.push_back({code_point, category, std::string(text.substr(pos, length))});
    pos += length;
  }
  return result;
}

/// How many characters from `from` on are such as `belongs` wants.
template <typename Predicate>
std::size_t run(const Characters& text, std::size_t from, Predicate belongs) {
  std::size_t end = from;
  while (end < text.size() && belongs(text[end])) ++end;
  return end - from;
}

inline std::size_t run(const Characters& text, std::size_t from, CharClass wanted) {
  return run(text, from, [&](const Character& character) { return character.is(wanted); });
}

/// How many characters the first of the contractions that stands at `from` has.
inline std::size_t contraction(const Characters& text, std::size_t from, bool ignore_case) {
  const auto equal = [&](const Character& character, char wanted) {
    const std::string bytes(1, wanted);
    if (character.bytes == bytes) return true;
    if (!ignore_case) return false;
    const bool upper =
        wanted != '\'' && character.bytes == std::string(1, static_cast<char>(wanted - 'a' + 'A'));
    return upper || (wanted == 's' && character.bytes == "\u017f");  // the long s
  };
  for (const std::string_view wanted : {"'s", "'d", "'m", "'t", "'ll", "'ve", "'re"}) {
    std::size_t matched = 0;
    while (matched < wanted.size() && from + matched < text.size() &&
           equal(text[from + matched], wanted[matched]))
      ++matched;
    if (matched == wanted.size()) return matched;
  }
  return 0;
}

/// `\s+(?!\S)|\s+`, and `\s+(?!\S)|\s`: the last part has one character only.
inline std::size_t match_space(const Characters& text, std::size_t start) {
  const std::size_t spaces = run(text, start, CharClass::kSpace);
  for (std::size_t length = spaces; length > 0; --length) {
    const std::size_t after = start + length;
    if (after == text.size() || text[after].is(CharClass::kSpace)) return length;
  }
  return spaces;
}

/// `\s*[\r\n]`, and `\s*[\r\n]+`, for which nothing is left where the first part takes all it can.
inline std::size_t match_space_to_newline(const Characters& text, std::size_t start) {
  for (std::size_t length = run(text, start, CharClass::kSpace) + 1; length > 0; --length) {
    const std::size_t last = start + length - 1;
    if (last < text.size() && text[last].is_newline()) return length;
  }
  return 0;
}

/// `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
inline std::size_t match_gpt2(const Characters& text, std::size_t start) {
  if (const std::size_t length = contraction(text, start, false)) return length;
  for (const CharClass wanted : {CharClass::kLetter, CharClass::kNumber, CharClass::kOther}) {
    for (const std::size_t blank : {1, 0}) {  // ` ?` takes the blank if it can
      if (blank == 1 && text[start].bytes != " ") continue;
      if (const std::size_t length = run(text, start + blank, wanted)) return blank + length;
    }
  }
  return match_space(text, start);
}

/// `[^\r\n\p{L}\p{N}]`
inline bool goes_before_letters(const Character& character) {
  return !character.is(CharClass::kLetter) && !character.is(CharClass::kNumber) && !character.is_newline();
}

/// `\p{N}{1,most}`
inline std::size_t match_number(const Characters& text, std::size_t start, std::size_t most = 3) {
  return std::min(run(text, start, CharClass::kNumber), most);
}

/// ` ?[^\s\p{L}\p{N}]+` and then what `belongs` wants.
template <typename Predicate>
std::size_t match_punctuation(const Characters& text, std::size_t start, Predicate belongs) {
  for (const std::size_t blank : {1, 0}) {
    if (blank == 1 && text[start].bytes != " ") continue;
    const std::size_t length = run(text, start + blank, CharClass::kOther);
    if (length > 0) return blank + length + run(text, start + blank + length, belongs);
  }
  return 0;
}

/// `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|
/// ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s`
inline std::size_t match_cl100k(const Characters& text, std::size_t start) {
  if (const std::size_t length = contraction(text, start, true)) return length;
  const std::size_t before = goes_before_letters(text[start]) ? 1 : 0;  // possessive: never given back
  if (const std::size_t letters = run(text, start + before, CharClass::kLetter)) return before + letters;
  if (const std::size_t length = match_number(text, start)) return length;
  const auto newline = [](const Character& character) { return character.is_newline(); };
  if (const std::size_t length = match_punctuation(text, start, newline)) return length;
  const std::size_t spaces = run(text, start, CharClass::kSpace);
  if (start + spaces == text.size()) return spaces;
  if (const std::size_t length = match_space_to_newline(text, start)) return length;
  return match_space(text, start);
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,most_digits}|
/// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
inline std::size_t match_llama3(const Characters& text, std::size_t start, std::size_t most_digits = 3) {
  if (const std::size_t length = contraction(text, start, true)) return length;
  for (const std::size_t before : {1, 0}) {
    if (before == 1 && !goes_before_letters(text[start])) continue;
    if (const std::size_t letters = run(text, start + before, CharClass::kLetter)) return before + letters;
  }
  if (const std::size_t length = match_number(text, start, most_digits)) return length;
  const auto newline = [](const Character& character) { return character.is_newline(); };
  if (const std::size_t length = match_punctuation(text, start, newline)) return length;
  if (const std::size_t length = match_space_to_newline(text, start)) return length;
  return match_space(text, start);
}

/// The third of deepseek's patterns, on a text of its own; 0 where it does not match:
/// `[ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
/// ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
inline std::size_t match_deepseek_rest(const Characters& text, std::size_t start) {
  const auto punctuation = [](const Character& character) {
    return character.category == CharCategory::kPunctuation;
  };
  const auto word = [](const Character& character) {
    return character.is(CharClass::kLetter) || character.category == CharCategory::kMark;
  };
  const auto ascii_letter = [](const Character& character) {
    const char32_t lower = character.code_point | 0x20;
    return lower >= 'a' && lower <= 'z';
  };
  if (punctuation(text[start]) && text[start].code_point < 0x80) {
    if (const std::size_t letters = run(text, start + 1, ascii_letter)) return 1 + letters;
  }
  for (const std::size_t before : {1, 0}) {
    const bool excluded =
        text[start].is_newline() || text[start].is(CharClass::kLetter) || punctuation(text[start]);
    if (before == 1 && excluded) continue;
    if (const std::size_t length = run(text, start + before, word)) return before + length;
  }
  for (const std::size_t blank : {1, 0}) {
    if (blank == 1 && text[start].bytes != " ") continue;
    const std::size_t length = run(text, start + blank, punctuation);
    const auto newline = [](const Character& character) { return character.is_newline(); };
    if (length > 0) return blank + length + run(text, start + blank + length, newline);
  }
  if (const std::size_t length = match_space_to_newline(text, start)) return length;
  return match_space(text, start);
}

/// Cuts a text as `match_length` says, and what it does not match (where it gives 0) into pieces of their
/// own.
template <typename Match>
std::vector<Characters> isolate(const Characters& text, Match match_length) {
  std::vector<Characters> pieces;
  bool in_gap = false;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t length = match_length(text, start);
    if (length > 0 || !in_gap) pieces.emplace_back();
    for (std::size_t i = 0; i < std::max<std::size_t>(length, 1); ++i)
      pieces.back().push_back(text[start + i]);
    in_gap = length == 0;
    start += std::max<std::size_t>(length, 1);
  }
  return pieces;
}

/// deepseek's three patterns, each on the pieces that the one before makes.
inline std::vector<Characters> split_deepseek(const Characters& text) {
  const auto number = [](const Characters& part, std::size_t start) { return match_number(part, start); };
  const auto chinese_or_kana = [](const Characters& part, std::size_t start) {
    return run(part, start, [](const Character& character) {
      const char32_t c = character.code_point;
      return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x309F) || (c >= 0x30A0 && c <= 0x30FF);
    });
  };
  std::vector<Characters> pieces;
  for (const Characters& outer : isolate(text, number)) {
    for (const Characters& inner : isolate(outer, chinese_or_kana)) {
      for (Characters& piece : isolate(inner, match_deepseek_rest)) pieces.push_back(std::move(piece));
    }
  }
  return pieces;
}

/// `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
/// or, with `lower_case` false, the same with `+` for the first and `*` for the second.
inline std::size_t match_o200k_word(const Characters& text, std::size_t start, bool lower_case) {
  using enum CharCategory;
  const auto upper = [](const Character& character) {
    return character.category == kUpper || character.category == kUncased || character.category == kMark;
  };
  const auto lower = [](const Character& character) {
    return character.category == kLower || character.category == kUncased || character.category == kMark;
  };
  for (const std::size_t before : {1, 0}) {
    if (before == 1 && !goes_before_letters(text[start])) continue;
    const std::size_t first = start + before;
    const std::size_t most = run(text, first, upper);
    const std::size_t least = lower_case ? 0 : 1;
    for (std::size_t num_upper = most + 1; num_upper-- > least;) {
      const std::size_t num_lower = run(text, first + num_upper, lower);
      if (lower_case && num_lower == 0) continue;
      const std::size_t end = first + num_upper + num_lower;
      return end + contraction(text, end, true) - start;
    }
  }
  return 0;
}

/// The word with lower case, the word with upper case, and
/// `\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
inline std::size_t match_o200k(const Characters& text, std::size_t start) {
  for (const bool lower_case : {true, false}) {
    if (const std::size_t length = match_o200k_word(text, start, lower_case)) return length;
  }
  if (const std::size_t length = match_number(text, start)) return length;
  const auto newline_or_slash = [](const Character& character) {
    return character.is_newline() || character.bytes == "/";
  };
  if (const std::size_t length = match_punctuation(text, start, newline_or_slash)) return length;
  if (const std::size_t length = match_space_to_newline(text, start)) return length;
  return match_space(text, start);
}

/// How many characters the pattern matches at `start`.
inline std::size_t match(Pattern pattern, const Characters& text, std::size_t start) {
  switch (pattern) {
    case Pattern::kGpt2:
      return match_gpt2(text, start);
    case Pattern::kCl100k:
      return match_cl100k(text, start);
    case Pattern::kO200k:
      return match_o200k(text, start);
    case Pattern::kLlama3:
      return match_llama3(text, start);
    case Pattern::kQwen2:
      return match_llama3(text, start, 1);
    case Pattern::kDeepseek:
      break;  // is no single pattern
  }
  return 0;
}

inline std::vector<std::string> split(std::string_view text, Pattern pattern = Pattern::kGpt2) {
  const Characters all = characters(text);
  const auto match_here = [pattern](const Characters& whole, std::size_t start) {
    return match(pattern, whole, start);
  };
  std::vector<std::string> pieces;
  for (const Characters& piece :
       pattern == Pattern::kDeepseek ? split_deepseek(all) : isolate(all, match_here)) {
    pieces.emplace_back();
    for (const Character& character : piece) pieces.back() += character.bytes;
  }
  return pieces;
}

// ---------------------------------------------------------------------------------------------------------------------
// Encoding

using Ranks = std::map<std::string, TokenId, std::less<>>;

/// What two tokens merge into: every way to cut a token into two.
inline std::map<gpt2x::bpe::TokenPair, TokenId> merges(const Ranks& ranks) {
  std::map<gpt2x::bpe::TokenPair, TokenId> merges;
  for (const auto& [bytes, rank] : ranks) {
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      const auto left = ranks.find(bytes.substr(0, cut));
      const auto right = ranks.find(bytes.substr(cut));
      if (left != ranks.end() && right != ranks.end()) merges[{left->second, right->second}] = rank;
    }
  }
  return merges;
}

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
inline std::vector<TokenId> encode(const Ranks& ranks, std::string_view text,
                                   Pattern pattern = Pattern::kGpt2) {
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
  for (const std::string& piece : split(text.substr(0, valid), pattern)) {
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
