// Where tokens go: whoever encodes hands them over a few thousand at a time, still warm in the cache, and
// the receiver stores, narrows, counts or writes them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "gpt2x/bpe/types.hpp"

namespace gpt2x::bpe {

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

class CountingSink final : public TokenSink {
 public:
  void write(std::span<const TokenId> tokens) override { count += tokens.size(); }
  std::size_t count = 0;
};

}  // namespace gpt2x::bpe
