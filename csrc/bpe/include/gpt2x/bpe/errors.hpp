// What the core throws: one sentence that names the value. The C ABI turns the types into status codes and
// the Python module into Python's exceptions; std::invalid_argument and std::length_error keep their usual
// meaning.
#pragma once

#include <stdexcept>

namespace gpt2x::bpe {

/// Tokens and ranks that make no byte-level vocabulary, or a file that is no rank file.
class FormatError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A file that cannot be read.
class IoError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// An id or a token that the vocabulary does not have.
class UnknownTokenError : public std::out_of_range {
  using std::out_of_range::out_of_range;
};

/// What work ends with when its StopFlag has been raised.
class Stopped : public std::runtime_error {
 public:
  Stopped() : std::runtime_error("stopped") {}
};

}  // namespace gpt2x::bpe
