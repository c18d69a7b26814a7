// Text to tokens and back: a vocabulary and the pattern that its text is split by.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/decoder.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/special_tokens.hpp"
#include "gpt2x/bpe/stop_flag.hpp"
#include "gpt2x/bpe/token_sink.hpp"
#include "gpt2x/bpe/types.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace gpt2x::bpe {

class EncoderPool;
class PieceEncoder;

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

  [[nodiscard]] const Vocabulary& vocabulary() const { return *vocabulary_; }
  [[nodiscard]] const Decoder& decoder() const { return decoder_; }
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
  [[nodiscard]] std::vector<Id> encode(std::string_view text, Text kind = Text::kAnyBytes) const;

  /// How many tokens that is, without holding them.
  [[nodiscard]] std::size_t count(std::string_view text, Text kind = Text::kAnyBytes) const;

  /// Every text's tokens, on `num_threads` threads (0: one for each core). Same result for any number.
  [[nodiscard]] std::vector<std::vector<TokenId>> encode_batch(std::span<const std::string_view> texts,
                                                               unsigned num_threads) const;

  /// The bytes of all tokens, one after the other. Throws UnknownTokenError naming the first unknown id.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids) const;

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

  // Behind pointers, so that a tokenizer can move while its encoders refer to the vocabulary.
  std::unique_ptr<const Vocabulary> vocabulary_;
  Decoder decoder_;
  Pattern pattern_;
  std::unique_ptr<EncoderPool> encoders_;
};

}  // namespace gpt2x::bpe
