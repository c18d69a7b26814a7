// Where tokens go: whoever encodes hands them over a few thousand at a time, still warm in the cache, and
// the receiver stores, narrows, counts or writes them.
#pragma once

#include <cstddef>
#include <span>

#include "gpt2x/bpe/types.hpp"

namespace gpt2x::bpe {

class TokenSink {
 public:
  virtual ~TokenSink() = default;

  /// The next tokens; the span is the sink's only during the call.
  virtual void take(std::span<const TokenId> tokens) = 0;
};

}  // namespace gpt2x::bpe
