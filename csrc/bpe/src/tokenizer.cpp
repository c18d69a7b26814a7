#include "gpt2x/bpe/tokenizer.hpp"

#include <algorithm>
#include <utility>

#include "gpt2x/bpe/encoder.hpp"
#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/unicode.hpp"
#include "parallel.hpp"

namespace gpt2x::bpe {

Tokenizer::Tokenizer(Vocabulary vocabulary, Pattern pattern)
    : vocabulary_(std::move(vocabulary)), pattern_(pattern) {}

std::vector<TokenId> Tokenizer::encode(std::string_view text) const {
  std::vector<TokenId> tokens;
  tokens.reserve(text.size() / 3 + 16);  // English has about four bytes to a token
  const std::size_t valid = valid_utf8_prefix(text);
  const std::size_t num_last = append_pieces(text.substr(0, valid), tokens);
  if (valid < text.size()) remerge_tail(text, valid, num_last, tokens);
  return tokens;
}

std::size_t Tokenizer::count(std::string_view text) const {
  if (valid_utf8_prefix(text) < text.size()) return encode(text).size();
  std::size_t num_tokens = 0;
  std::vector<TokenId> tokens;
  for_each_piece(pattern_, text, [&](std::string_view piece) {
    tokens.clear();
    encode_piece(vocabulary_, piece, tokens);
    num_tokens += tokens.size();
  });
  return num_tokens;
}

std::vector<std::vector<TokenId>> Tokenizer::encode_batch(std::span<const std::string_view> texts,
                                                          unsigned num_threads) const {
  std::vector<std::vector<TokenId>> results(texts.size());
  parallel_for(texts.size(), num_threads, [&](std::size_t i) { results[i] = encode(texts[i]); });
  return results;
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  std::string text;
  text.reserve(ids.size() * 4);
  for (const TokenId id : ids) {
    const std::string_view bytes = vocabulary_.bytes_of(id);
    if (bytes.empty()) throw UnknownTokenError("no token has id " + std::to_string(id));
    text += bytes;
  }
  return text;
}

// Returns how many tokens the last piece gave, 0 for an empty text.
std::size_t Tokenizer::append_pieces(std::string_view text, std::vector<TokenId>& tokens) const {
  std::size_t before_last = tokens.size();
  for_each_piece(pattern_, text, [&](std::string_view piece) {
    before_last = tokens.size();
    encode_piece(vocabulary_, piece, tokens);
  });
  return tokens.size() - before_last;
}

// What tiktoken's `_encode_bytes` does for bytes that are not all UTF-8. Most often they are a text that was
// cut inside a character, so the last piece before the first malformed byte may not be a whole piece: its
// `num_last` tokens are dropped, and its bytes are merged again as one piece with everything that follows. If
// that piece is white space, it may be what a longer run kept back for a next piece, so the white space
// before it goes the same way.
void Tokenizer::remerge_tail(std::string_view text, std::size_t valid, std::size_t num_last,
                             std::vector<TokenId>& tokens) const {
  const auto is_blank = [&](TokenId token) {
    const auto blank = [](char c) { return c == ' ' || c == '\n' || c == '\t'; };
    return std::ranges::all_of(vocabulary_.bytes_of(token), blank);
  };
  if (num_last > 0 && is_blank(tokens[tokens.size() - num_last])) {
    while (num_last < tokens.size() && is_blank(tokens[tokens.size() - num_last - 1])) ++num_last;
  }
  std::size_t tail_start = valid;
  for (; num_last > 0; --num_last) {
    tail_start -= vocabulary_.bytes_of(tokens.back()).size();
    tokens.pop_back();
  }
  encode_piece(vocabulary_, text.substr(tail_start), tokens);
}

}  // namespace gpt2x::bpe
