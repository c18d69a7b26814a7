#include "gpt2x/bpe/tokenizer.hpp"

#include <algorithm>
#include <utility>

#include "encoder_pool.hpp"
#include "gpt2x/bpe/internal/code_points.hpp"
#include "gpt2x/bpe/internal/decoder.hpp"
#include "gpt2x/bpe/internal/encoder.hpp"
#include "gpt2x/bpe/internal/parallel.hpp"
#include "gpt2x/bpe/internal/shares.hpp"
#include "gpt2x/bpe/internal/special_search.hpp"
#include "gpt2x/bpe/internal/splitter.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/internal/vocabulary_tables.hpp"

namespace gpt2x::bpe {

Tokenizer::Tokenizer(Vocabulary vocabulary, Pattern pattern,
                     std::span<const Vocabulary::Entry> special_tokens)
    : vocabulary_(std::move(vocabulary)),
      decoder_(std::make_unique<const Decoder>(vocabulary_, special_tokens)),
      pattern_(pattern),
      encoders_(std::make_unique<EncoderPool>(vocabulary_.tables())) {}

Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

void Tokenizer::encode(std::string_view text, TokenSink& sink, Text kind,
                       const EncodeOptions& options) const {
  encode_parts<char>(text, sink, options, [&](PieceEncoder& encoder, std::span<const char> part) {
    encode_ordinary(encoder, {part.data(), part.size()}, sink, kind, options.stop);
  });
}

template <typename Char>
void Tokenizer::encode(std::span<const Char> text, TokenSink& sink, const EncodeOptions& options) const {
  encode_parts(text, sink, options, [&](PieceEncoder& encoder, std::span<const Char> part) {
    encode_ordinary(encoder, part, sink, options.stop);
  });
}

// Calls `encode_part` for the text between special tokens, and hands those to the sink.
template <typename Char, typename EncodePart>
void Tokenizer::encode_parts(std::span<const Char> text, TokenSink& sink, const EncodeOptions& options,
                             const EncodePart& encode_part) const {
  encoders_->with_encoder([&](PieceEncoder& encoder) {
    std::size_t start = 0;
    if (options.specials != nullptr) {
      SpecialSearch<Char> search(*options.specials, text, 0, options.stop);
      while (const auto match = search.next()) {
        options.stop.check();
        if (start < match->start) encode_part(encoder, text.subspan(start, match->start - start));
        sink.write({&match->id, 1});
        start = match->end;
      }
    }
    if (start < text.size()) encode_part(encoder, text.subspan(start));
  });
}

void Tokenizer::encode_ordinary(PieceEncoder& encoder, std::string_view text, TokenSink& sink, Text kind,
                                StopFlag& stop) const {
  const std::size_t valid = kind == Text::kWellformedUtf8 ? text.size() : valid_utf8_prefix(text);
  if (valid < text.size()) {
    sink.write(encode_broken(text, valid, stop));
  } else {
    encoder.encode(pattern_, text, true, sink, stop);
  }
}

// The buffer fills with UTF-8, is encoded up to a place where the text can be cut, and keeps the rest. A text
// without such a place ends up in the buffer as a whole.
template <typename Char>
void Tokenizer::encode_ordinary(PieceEncoder& encoder, std::span<const Char> text, TokenSink& sink,
                                StopFlag& stop) const {
  constexpr std::size_t kPart = std::size_t{1} << 16;  // code points
  constexpr std::size_t kTail = 4096;                  // bytes in which a place to cut is looked for
  std::vector<char> buffer(text.size() < kPart ? 0 : kPart * kMaxUtf8Bytes<Char> + kTail);
  std::size_t filled = 0;
  while (!text.empty()) {
    stop.check();
    std::size_t count = std::min(text.size(), kPart);
    if (count < text.size() && is_high_surrogate(text[count - 1])) --count;  // its other half comes next
    buffer.resize(std::max(buffer.size(), filled + count * kMaxUtf8Bytes<Char>));
    const std::size_t added = to_utf8(text.first(count), buffer.data() + filled);
    filled += added;
    text = text.subspan(count);
    const std::string_view utf8(buffer.data(), filled);
    const std::size_t cut =
        text.empty() ? filled : find_safe_cut(pattern_, utf8, filled - std::min(kTail, added));
    if (cut == filled && !text.empty()) continue;
    encoder.encode(pattern_, utf8.substr(0, cut), true, sink, stop);
    std::copy(buffer.begin() + static_cast<std::ptrdiff_t>(cut),
              buffer.begin() + static_cast<std::ptrdiff_t>(filled), buffer.begin());
    filled -= cut;
  }
}

template void Tokenizer::encode(std::span<const std::uint8_t>, TokenSink&, const EncodeOptions&) const;
template void Tokenizer::encode(std::span<const char16_t>, TokenSink&, const EncodeOptions&) const;
template void Tokenizer::encode(std::span<const char32_t>, TokenSink&, const EncodeOptions&) const;

template <typename Id>
std::vector<Id> Tokenizer::encode(std::string_view text, Text kind, const EncodeOptions& options) const {
  std::vector<Id> tokens;
  tokens.reserve(text.size() / 3 + 16);  // English has about four bytes to a token
  VectorSink sink(tokens);
  encode(text, sink, kind, options);
  return tokens;
}

template std::vector<std::uint16_t> Tokenizer::encode(std::string_view text, Text kind,
                                                      const EncodeOptions&) const;
template std::vector<std::uint32_t> Tokenizer::encode(std::string_view text, Text kind,
                                                      const EncodeOptions&) const;

std::size_t Tokenizer::count(std::string_view text, Text kind, const EncodeOptions& options) const {
  CountingSink sink;
  encode(text, sink, kind, options);
  return sink.count;
}

std::vector<std::vector<TokenId>> Tokenizer::encode_batch(std::span<const std::string_view> texts,
                                                          unsigned num_threads) const {
  num_threads = num_threads_for(num_threads);
  std::size_t total = 0;
  for (const std::string_view text : texts) total += text.size();
  const std::size_t share = share_of(total, num_threads);

  // Long texts are cut, so that threads share them.
  std::vector<std::string_view> parts;
  std::vector<std::size_t> first_parts;  // by text
  for (const std::string_view text : texts) {
    first_parts.push_back(parts.size());
    if (num_threads == 1 || text.size() <= share || valid_utf8_prefix(text) < text.size()) {
      parts.push_back(text);
      continue;
    }
    std::size_t start = 0;
    for (const std::size_t end : find_shares(pattern_, std::span(text), nullptr, share)) {
      parts.push_back(text.substr(start, end - start));
      start = end;
    }
  }
  first_parts.push_back(parts.size());

  std::vector<std::vector<TokenId>> encoded(parts.size());
  parallel_for(parts.size(), num_threads, [&](std::size_t i) { encoded[i] = encode<TokenId>(parts[i]); });
  std::vector<std::vector<TokenId>> results(texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    results[i] = std::move(encoded[first_parts[i]]);
    for (std::size_t part = first_parts[i] + 1; part < first_parts[i + 1]; ++part) {
      results[i].insert(results[i].end(), encoded[part].begin(), encoded[part].end());
    }
  }
  return results;
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  std::string text(decoder_->num_bytes(ids), '\0');
  decoder_->write(ids, text.data(), text.size());
  return text;
}

std::string_view Tokenizer::bytes_of(TokenId id) const {
  return decoder_->bytes_of(id);
}

// What tiktoken's `_encode_bytes` does for bytes of which only the first `valid` are UTF-8. Most often they
// are a text that was cut inside a character, so the last piece before the first malformed byte may not be a
// whole piece: its tokens are dropped, and its bytes are merged again as one piece with everything that
// follows. If that piece is white space, it may be what a longer run kept back for a next piece, so the white
// space before it goes the same way.
std::vector<TokenId> Tokenizer::encode_broken(std::string_view text, std::size_t valid,
                                              StopFlag& stop) const {
  std::vector<TokenId> tokens;
  std::size_t last_piece = 0;
  const auto append_piece = [&](std::string_view piece) {
    stop.check();
    last_piece = tokens.size();
    tokens.resize(last_piece + piece.size());
    const TokenId* const end = encode_piece(vocabulary_.tables(), piece, tokens.data() + last_piece, stop);
    tokens.resize(static_cast<std::size_t>(end - tokens.data()));
  };
  for_each_piece(pattern_, text.substr(0, valid), append_piece);

  const auto is_blank = [&](TokenId token) {
    const auto blank = [](char c) { return c == ' ' || c == '\n' || c == '\t'; };
    return std::ranges::all_of(vocabulary_.bytes_of(token), blank);
  };
  if (!tokens.empty() && is_blank(tokens[last_piece])) {
    while (last_piece > 0 && is_blank(tokens[last_piece - 1])) --last_piece;
  }
  std::size_t tail_start = valid;
  for (; tokens.size() > last_piece; tokens.pop_back()) {
    tail_start -= vocabulary_.bytes_of(tokens.back()).size();
  }
  append_piece(text.substr(tail_start));
  return tokens;
}

}  // namespace gpt2x::bpe
