// Text to tokens and back: a vocabulary and the pattern that its text is split by.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/stop_flag.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

class Decoder;
class EncoderPool;
class PieceEncoder;
class SpecialAutomaton;

/// Where tokens go: a tokenizer hands them over a few thousand at a time, still warm in the cache, and the
/// receiver stores, narrows, counts or writes them.
class TokenSink {
 public:
  virtual ~TokenSink() = default;

  /// The next tokens; the span is the sink's only during the call.
  virtual void write(std::span<const TokenId> tokens) = 0;
};

/// Appends to a vector; `Id` must be wide enough for the vocabulary's ids.
template <typename Id>
class VectorSink final : public TokenSink {
 public:
  explicit VectorSink(std::vector<Id>& tokens) : tokens_(tokens) {}
  void write(std::span<const TokenId> tokens) override {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  }

 private:
  std::vector<Id>& tokens_;
};

/// Writes tokens to a caller's buffer until it is full, and counts them all.
template <typename Id>
class BufferSink final : public TokenSink {
 public:
  explicit BufferSink(std::span<Id> buffer) : buffer_(buffer) {}

  void write(std::span<const TokenId> tokens) override {
    const std::size_t fitting = size < buffer_.size() ? std::min(tokens.size(), buffer_.size() - size) : 0;
    for (std::size_t i = 0; i < fitting; ++i) buffer_[size + i] = static_cast<Id>(tokens[i]);
    size += tokens.size();
  }

  std::size_t size = 0;

 private:
  std::span<Id> buffer_;
};

class CountingSink final : public TokenSink {
 public:
  void write(std::span<const TokenId> tokens) override { count += tokens.size(); }
  std::size_t count = 0;
};

/// Texts that stand for one id each and are looked for before a text is split: `<|endoftext|>` and its like.
/// Where several begin, the leftmost counts, and of those that begin there the longest.
///
/// Immutable once made, so that threads may share it; copies share what they hold, which takes about 15 bytes
/// for each byte of all tokens.
class SpecialTokens {
 public:
  /// Linear in the bytes of all tokens, but for sorting them. Throws FormatError for an empty token, one that
  /// occurs twice, and std::length_error for 4 GiB of them.
  explicit SpecialTokens(std::span<const Vocabulary::Entry> tokens);

  // Moving copies, so that none is ever without its automaton.
  SpecialTokens(const SpecialTokens&) = default;
  SpecialTokens& operator=(const SpecialTokens&) = default;

  [[nodiscard]] std::size_t size() const;

  /// The largest id; 0 if there are no tokens.
  [[nodiscard]] TokenId largest_id() const;

  /// The bytes of the longest token; 0 if there are none.
  [[nodiscard]] std::size_t longest() const;

  /// What SpecialSearch reads, for the core itself.
  [[nodiscard]] const SpecialAutomaton& automaton() const { return *automaton_; }

 private:
  std::shared_ptr<const SpecialAutomaton> automaton_;
};

struct EncodeOptions {
  /// Become their ids wherever they stand, and the text between them is encoded by itself; null for none.
  const SpecialTokens* specials = nullptr;

  /// Ends the work with Stopped soon after it is raised.
  StopFlag& stop = never_stopped;
};

/// Threads may share it: what it remembers of the pieces it met changes how fast it is, never what it gives.
/// Special tokens are the caller's for each text that is encoded; decoding knows those that it is given.
class Tokenizer {
 public:
  /// Throws FormatError for a special token whose id is taken or is Vocabulary::kMaxSize or more.
  Tokenizer(Vocabulary vocabulary, Pattern pattern, std::span<const Vocabulary::Entry> special_tokens = {});
  Tokenizer(Tokenizer&&) noexcept;
  ~Tokenizer();

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }
  [[nodiscard]] Pattern pattern() const { return pattern_; }

  /// What a caller knows of a text.
  enum class Text : bool { kAnyBytes, kWellformedUtf8 };

  /// Hands the tokens of a text to `sink`, in order. Bytes that are not valid UTF-8 give what tiktoken's
  /// `_encode_bytes` gives: the valid part is encoded, and its last piece is merged again together with all
  /// that follows.
  void encode(std::string_view text, TokenSink& sink, Text kind = Text::kAnyBytes,
              const EncodeOptions& options = {}) const;

  /// The same for a text of code points (see to_utf8), a part at a time: its UTF-8 form never exists as a
  /// whole.
  template <typename Char>
  void encode(std::span<const Char> text, TokenSink& sink, const EncodeOptions& options = {}) const;

  /// The same in a vector. `Id` is TokenId, or std::uint16_t for a vocabulary of at most 65,536 ids.
  template <typename Id = TokenId>
  [[nodiscard]] std::vector<Id> encode(std::string_view text, Text kind = Text::kAnyBytes,
                                       const EncodeOptions& options = {}) const;

  /// How many tokens that is, without holding them.
  [[nodiscard]] std::size_t count(std::string_view text, Text kind = Text::kAnyBytes,
                                  const EncodeOptions& options = {}) const;

  /// Every text's tokens, on `num_threads` threads (0: one for each core). Same result for any number.
  [[nodiscard]] std::vector<std::vector<TokenId>> encode_batch(std::span<const std::string_view> texts,
                                                               unsigned num_threads) const;

  /// The bytes of all tokens, one after the other. Throws UnknownTokenError naming the first unknown id.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids) const;

  /// The bytes of a token, special ones included; empty if there is none with that id.
  [[nodiscard]] std::string_view bytes_of(TokenId id) const;

  /// What decode works with, for the core itself.
  [[nodiscard]] const Decoder& decoder() const { return *decoder_; }

 private:
  template <typename Char, typename EncodePart>
  void encode_parts(std::span<const Char> text, TokenSink& sink, const EncodeOptions& options,
                    const EncodePart& encode_part) const;
  void encode_ordinary(PieceEncoder& encoder, std::string_view text, TokenSink& sink, Text kind,
                       StopFlag& stop) const;
  template <typename Char>
  void encode_ordinary(PieceEncoder& encoder, std::span<const Char> text, TokenSink& sink,
                       StopFlag& stop) const;
  [[nodiscard]] std::vector<TokenId> encode_broken(std::string_view text, std::size_t valid,
                                                   StopFlag& stop) const;

  Vocabulary vocabulary_;
  std::unique_ptr<const Decoder> decoder_;
  Pattern pattern_;
  std::unique_ptr<EncoderPool> encoders_;
};

}  // namespace gpt2x::bpe
