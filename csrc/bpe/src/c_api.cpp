#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>

#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/rank_file.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "gpt2x_bpe.h"

namespace bpe = gpt2x::bpe;

struct gpt2x_bpe_tokenizer {
  bpe::Tokenizer tokenizer;
};

namespace {

thread_local std::string last_error;

gpt2x_bpe_status fail(gpt2x_bpe_status status, const char* message) noexcept {
  try {
    last_error = message;
  } catch (...) {
    last_error.clear();
  }
  return status;
}

// Runs the body of a C function; no exception gets past here. std::length_error says that a size is beyond
// what the core can hold, which to a caller is a bad argument.
template <typename Body>
gpt2x_bpe_status guarded(const Body& body) noexcept {
  try {
    return body();
  } catch (const bpe::FormatError& error) {
    return fail(GPT2X_BPE_BAD_FORMAT, error.what());
  } catch (const bpe::IoError& error) {
    return fail(GPT2X_BPE_IO_ERROR, error.what());
  } catch (const bpe::UnknownTokenError& error) {
    return fail(GPT2X_BPE_UNKNOWN_TOKEN, error.what());
  } catch (const std::bad_alloc&) {
    return fail(GPT2X_BPE_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return fail(GPT2X_BPE_INVALID_ARGUMENT, error.what());
  } catch (...) {
    return fail(GPT2X_BPE_INVALID_ARGUMENT, "unknown error");
  }
}

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

gpt2x_bpe_status load(std::string_view contents, const char* pattern_name, gpt2x_bpe_tokenizer** out) {
  const bpe::Pattern pattern = bpe::pattern_from_name(pattern_name);
  bpe::Vocabulary vocabulary = bpe::vocabulary_from_ranks(bpe::parse_rank_file(contents));
  *out = new gpt2x_bpe_tokenizer{bpe::Tokenizer(std::move(vocabulary), pattern)};
  return GPT2X_BPE_OK;
}

// Hands a result to the caller's buffer: all of it, or as much as fits.
template <typename Container, typename Element>
gpt2x_bpe_status hand_over(const Container& result, Element* buffer, std::size_t capacity,
                           std::size_t* size) {
  *size = result.size();
  std::copy_n(result.begin(), std::min(capacity, result.size()), buffer);
  if (result.size() <= capacity) return GPT2X_BPE_OK;
  const std::string message =
      "the result has " + std::to_string(result.size()) + " elements, the buffer " + std::to_string(capacity);
  return fail(GPT2X_BPE_BUFFER_TOO_SMALL, message.c_str());
}

}  // namespace

const char* gpt2x_bpe_version(void) {
  return GPT2X_BPE_VERSION;
}

const char* gpt2x_bpe_unicode_version(void) {
  return bpe::unicode_version();
}

const char* gpt2x_bpe_last_error(void) {
  return last_error.c_str();
}

gpt2x_bpe_status gpt2x_bpe_load(const char* path, const char* pattern, gpt2x_bpe_tokenizer** out) {
  return guarded([&] {
    require(out != nullptr, "out is null");
    *out = nullptr;
    require(path != nullptr && pattern != nullptr, "path or pattern is null");
    return load(bpe::read_file(path), pattern, out);
  });
}

gpt2x_bpe_status gpt2x_bpe_load_memory(const char* data, size_t size, const char* pattern,
                                       gpt2x_bpe_tokenizer** out) {
  return guarded([&] {
    require(out != nullptr, "out is null");
    *out = nullptr;
    require(pattern != nullptr && (data != nullptr || size == 0), "data or pattern is null");
    return load({data, size}, pattern, out);
  });
}

void gpt2x_bpe_free(gpt2x_bpe_tokenizer* tokenizer) {
  delete tokenizer;
}

uint32_t gpt2x_bpe_vocab_size(const gpt2x_bpe_tokenizer* tokenizer) {
  return tokenizer == nullptr ? 0 : tokenizer->tokenizer.vocabulary().size();
}

gpt2x_bpe_status gpt2x_bpe_encode(const gpt2x_bpe_tokenizer* tokenizer, const char* text, size_t size,
                                  uint32_t* ids, size_t capacity, size_t* count) {
  return guarded([&] {
    require(count != nullptr, "count is null");
    *count = 0;
    require(tokenizer != nullptr, "tokenizer is null");
    require((text != nullptr || size == 0) && (ids != nullptr || capacity == 0), "text or ids is null");
    return hand_over(tokenizer->tokenizer.encode({text, size}), ids, capacity, count);
  });
}

gpt2x_bpe_status gpt2x_bpe_decode(const gpt2x_bpe_tokenizer* tokenizer, const uint32_t* ids, size_t count,
                                  char* text, size_t capacity, size_t* size) {
  return guarded([&] {
    require(size != nullptr, "size is null");
    *size = 0;
    require(tokenizer != nullptr, "tokenizer is null");
    require((ids != nullptr || count == 0) && (text != nullptr || capacity == 0), "ids or text is null");
    return hand_over(tokenizer->tokenizer.decode(std::span(ids, count)), text, capacity, size);
  });
}
