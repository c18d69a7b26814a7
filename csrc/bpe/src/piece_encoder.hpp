// From pieces to tokens, with a memory of the pieces that were met before.
//
// A window's worth of pieces goes through three loops: find where they end, make keys and ask for their cache
// lines, look the keys up and write tokens. None of the loops waits for memory, which one loop over single
// pieces would do at every piece.
#pragma once

#include <memory>
#include <string_view>

#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/stop_flag.hpp"

namespace gpt2x::bpe {

class TokenSink;
class VocabularyTables;

/// Scratch memory and cache for one thread at a time; whatever it has seen, results are the same.
class PieceEncoder {
 public:
  virtual ~PieceEncoder() = default;

  /// Hands the tokens of a text to `sink`. `wellformed` as for Splitter. Once it has thrown Stopped, or
  /// anything else, it is of no more use.
  virtual void encode(Pattern pattern, std::string_view text, bool wellformed, TokenSink& sink,
                      StopFlag& stop) = 0;
};

/// An encoder for a vocabulary, which must outlive it.
std::unique_ptr<PieceEncoder> make_piece_encoder(const VocabularyTables& vocabulary);

}  // namespace gpt2x::bpe
