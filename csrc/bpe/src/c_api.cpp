#include <algorithm>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/decoder.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/rank_file.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "gpt2x/bpe/trainer.hpp"
#include "gpt2x_bpe.h"

namespace bpe = gpt2x::bpe;

struct gpt2x_bpe_tokenizer {
  bpe::Tokenizer tokenizer;
};

struct gpt2x_bpe_trainer {
  bpe::Pattern pattern;
  bpe::PieceCounter pieces;
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

gpt2x_bpe_status verdict_on(std::size_t size, std::size_t capacity) {
  if (size <= capacity) return GPT2X_BPE_OK;
  const std::string message = "the result has " + std::to_string(size) + " elements, the buffer " +
                              std::to_string(capacity) + "; give a larger one";
  return fail(GPT2X_BPE_BUFFER_TOO_SMALL, message.c_str());
}

// Hands bytes to the caller's buffer: all of them, or as much as fits.
gpt2x_bpe_status hand_over(std::string_view bytes, char* buffer, std::size_t capacity, std::size_t* size) {
  *size = bytes.size();
  std::copy_n(bytes.begin(), std::min(capacity, bytes.size()), buffer);
  return verdict_on(bytes.size(), capacity);
}

template <typename Id>
gpt2x_bpe_status encode(const gpt2x_bpe_tokenizer* tokenizer, const char* text, std::size_t size, Id* ids,
                        std::size_t capacity, std::size_t* count) {
  require(count != nullptr, "count is null");
  *count = 0;
  require(tokenizer != nullptr, "tokenizer is null");
  require((text != nullptr || size == 0) && (ids != nullptr || capacity == 0), "text or ids is null");
  const bpe::TokenId num_ids = tokenizer->tokenizer.vocabulary().size();
  require(num_ids - 1 <= std::numeric_limits<Id>::max(), "the vocabulary has more ids than 16 bits can tell");
  bpe::BufferSink<Id> sink({ids, capacity});
  tokenizer->tokenizer.encode({text, size}, sink);
  *count = sink.size;
  return verdict_on(sink.size, capacity);
}

// The ids 0 to 255 are the bytes in GPT-2's order, and each merge makes the next one.
bpe::Vocabulary learn(const bpe::PieceCounter& pieces, std::size_t vocab_size) {
  std::vector<bpe::RankedToken> tokens;
  for (const std::uint8_t byte : bpe::gpt2_byte_order()) {
    tokens.push_back({std::string(1, static_cast<char>(byte)), static_cast<bpe::TokenId>(tokens.size())});
  }
  bpe::MergeLearner learner(pieces, {.max_merges = vocab_size - tokens.size()});
  while (const auto merge = learner.next()) {
    tokens.push_back(
        {tokens[merge->left].bytes + tokens[merge->right].bytes, static_cast<bpe::TokenId>(tokens.size())});
  }
  return bpe::vocabulary_from_ranks(tokens);
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
  return guarded([&] { return encode(tokenizer, text, size, ids, capacity, count); });
}

gpt2x_bpe_status gpt2x_bpe_encode16(const gpt2x_bpe_tokenizer* tokenizer, const char* text, size_t size,
                                    uint16_t* ids, size_t capacity, size_t* count) {
  return guarded([&] { return encode(tokenizer, text, size, ids, capacity, count); });
}

gpt2x_bpe_status gpt2x_bpe_count(const gpt2x_bpe_tokenizer* tokenizer, const char* text, size_t size,
                                 size_t* count) {
  return guarded([&] {
    require(count != nullptr, "count is null");
    *count = 0;
    require(tokenizer != nullptr, "tokenizer is null");
    require(text != nullptr || size == 0, "text is null");
    *count = tokenizer->tokenizer.count({text, size});
    return GPT2X_BPE_OK;
  });
}

gpt2x_bpe_status gpt2x_bpe_decode(const gpt2x_bpe_tokenizer* tokenizer, const uint32_t* ids, size_t count,
                                  char* text, size_t capacity, size_t* size) {
  return guarded([&] {
    require(size != nullptr, "size is null");
    *size = 0;
    require(tokenizer != nullptr, "tokenizer is null");
    require((ids != nullptr || count == 0) && (text != nullptr || capacity == 0), "ids or text is null");
    const bpe::Decoder& decoder = tokenizer->tokenizer.decoder();
    const std::span<const uint32_t> all(ids, count);
    const std::size_t needed = decoder.num_bytes(all);
    *size = needed;
    if (capacity == 0) return verdict_on(needed, capacity);
    if (needed > capacity) return hand_over(tokenizer->tokenizer.decode(all), text, capacity, size);
    decoder.write(all, text, needed);
    return GPT2X_BPE_OK;
  });
}

gpt2x_bpe_status gpt2x_bpe_token_bytes(const gpt2x_bpe_tokenizer* tokenizer, uint32_t id, const char** bytes,
                                       size_t* size) {
  return guarded([&] {
    require(bytes != nullptr && size != nullptr, "bytes or size is null");
    *bytes = nullptr;
    *size = 0;
    require(tokenizer != nullptr, "tokenizer is null");
    const std::string_view found = tokenizer->tokenizer.bytes_of(id);
    if (found.empty()) throw bpe::UnknownTokenError("no token has id " + std::to_string(id));
    *bytes = found.data();
    *size = found.size();
    return GPT2X_BPE_OK;
  });
}

gpt2x_bpe_status gpt2x_bpe_trainer_new(const char* pattern, gpt2x_bpe_trainer** out) {
  return guarded([&] {
    require(out != nullptr, "out is null");
    *out = nullptr;
    require(pattern != nullptr, "pattern is null");
    const bpe::Pattern known = bpe::pattern_from_name(pattern);
    *out = new gpt2x_bpe_trainer{known, bpe::PieceCounter(known)};
    return GPT2X_BPE_OK;
  });
}

gpt2x_bpe_status gpt2x_bpe_trainer_add(gpt2x_bpe_trainer* trainer, const char* text, size_t size,
                                       unsigned num_threads) {
  return guarded([&] {
    require(trainer != nullptr, "trainer is null");
    require(text != nullptr || size == 0, "text is null");
    trainer->pieces.add({text, size}, num_threads);
    return GPT2X_BPE_OK;
  });
}

gpt2x_bpe_status gpt2x_bpe_trainer_learn(const gpt2x_bpe_trainer* trainer, uint32_t vocab_size,
                                         gpt2x_bpe_tokenizer** out) {
  return guarded([&] {
    require(out != nullptr, "out is null");
    *out = nullptr;
    require(trainer != nullptr, "trainer is null");
    require(vocab_size >= 256 && vocab_size <= bpe::Vocabulary::kMaxSize,
            "vocab_size is below 256, the number of bytes, or too large");
    *out = new gpt2x_bpe_tokenizer{bpe::Tokenizer(learn(trainer->pieces, vocab_size), trainer->pattern)};
    return GPT2X_BPE_OK;
  });
}

void gpt2x_bpe_trainer_free(gpt2x_bpe_trainer* trainer) {
  delete trainer;
}

gpt2x_bpe_status gpt2x_bpe_save_memory(const gpt2x_bpe_tokenizer* tokenizer, char* data, size_t capacity,
                                       size_t* size) {
  return guarded([&] {
    require(size != nullptr, "size is null");
    *size = 0;
    require(tokenizer != nullptr, "tokenizer is null");
    require(data != nullptr || capacity == 0, "data is null");
    return hand_over(bpe::format_rank_file(tokenizer->tokenizer.vocabulary()), data, capacity, size);
  });
}
