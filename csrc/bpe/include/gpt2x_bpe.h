/* gpt2x_bpe.h: the tokenizer core for C and for every language that can call C.
 *
 * Handles are opaque. A tokenizer is immutable once made, so one may serve many threads; a trainer is used by
 * one thread at a time. Functions return a status; the text of the last error of the calling thread is behind
 * gpt2x_bpe_last_error(). No function throws, exits or prints. Sizes are in bytes, counts in tokens; text
 * need not end in a zero byte and may hold any bytes.
 */
#ifndef GPT2X_BPE_H
#define GPT2X_BPE_H

#define GPT2X_BPE_VERSION "0.1.0"

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define GPT2X_BPE_API __declspec(dllexport)
#else
#define GPT2X_BPE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gpt2x_bpe_tokenizer gpt2x_bpe_tokenizer;
typedef struct gpt2x_bpe_trainer gpt2x_bpe_trainer;

typedef enum gpt2x_bpe_status {
  GPT2X_BPE_OK = 0,
  GPT2X_BPE_INVALID_ARGUMENT = 1, /* a null pointer, an unknown pattern name, ... */
  GPT2X_BPE_IO_ERROR = 2,         /* the file cannot be read */
  GPT2X_BPE_BAD_FORMAT =
      3, /* the file is not a rank file, or its ranks do not form a byte-level vocabulary */
  GPT2X_BPE_UNKNOWN_TOKEN = 4,    /* an id that the vocabulary does not have */
  GPT2X_BPE_BUFFER_TOO_SMALL = 5, /* the needed size has been stored; call again with a larger buffer */
  GPT2X_BPE_OUT_OF_MEMORY = 6
} gpt2x_bpe_status;

/* The library's version (GPT2X_BPE_VERSION of the header it was built with), "major.minor.patch", and the
 * Unicode version of its character classes, "16.0.0". */
GPT2X_BPE_API const char* gpt2x_bpe_version(void);
GPT2X_BPE_API const char* gpt2x_bpe_unicode_version(void);

/* One sentence about the last call of this thread that did not return GPT2X_BPE_OK; never null. */
GPT2X_BPE_API const char* gpt2x_bpe_last_error(void);

/* Load a rank file (lines of base64 token, space, rank: tiktoken's format). `pattern` names how text is split
 * before merging: "gpt2", "cl100k", "o200k", "llama3", "qwen2" or "deepseek". On success *out owns the
 * tokenizer. */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_load(const char* path, const char* pattern,
                                              gpt2x_bpe_tokenizer** out);

/* The same from a rank file that is already in memory. */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_load_memory(const char* data, size_t size, const char* pattern,
                                                     gpt2x_bpe_tokenizer** out);

/* Free a tokenizer; null is allowed. */
GPT2X_BPE_API void gpt2x_bpe_free(gpt2x_bpe_tokenizer* tokenizer);

/* The number of ids: one more than the largest id. */
GPT2X_BPE_API uint32_t gpt2x_bpe_vocab_size(const gpt2x_bpe_tokenizer* tokenizer);

/* Encode `size` bytes of text without special tokens, in one pass: ids go to the buffer as they come. At most
 * `capacity` ids are written to `ids`; *count is always set to the number that the whole text has. A text has
 * no more ids than bytes, so a buffer of `size` ids never is too small, and none of it is touched that is not
 * needed. */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_encode(const gpt2x_bpe_tokenizer* tokenizer, const char* text,
                                                size_t size, uint32_t* ids, size_t capacity, size_t* count);

/* The same in 16 bits, for a vocabulary of at most 65,536 ids; GPT2X_BPE_INVALID_ARGUMENT for a larger one.
 */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_encode16(const gpt2x_bpe_tokenizer* tokenizer, const char* text,
                                                  size_t size, uint16_t* ids, size_t capacity, size_t* count);

/* Set *count to how many ids a text has, without keeping them. */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_count(const gpt2x_bpe_tokenizer* tokenizer, const char* text,
                                               size_t size, size_t* count);

/* Decode `count` ids to bytes. At most `capacity` bytes are written to `text`; *size is always set to the
 * number that all ids have. The bytes may be any, also half a character at either end. */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_decode(const gpt2x_bpe_tokenizer* tokenizer, const uint32_t* ids,
                                                size_t count, char* text, size_t capacity, size_t* size);

/* Set *bytes and *size to the bytes of one id, which stay valid as long as the tokenizer. */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_token_bytes(const gpt2x_bpe_tokenizer* tokenizer, uint32_t id,
                                                     const char** bytes, size_t* size);

/* Make a trainer, which counts the pieces of texts. `pattern` as above. It belongs to one thread at a time.
 */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_trainer_new(const char* pattern, gpt2x_bpe_trainer** out);

/* Count the pieces of one text, a document of its own, on `num_threads` threads; 0 is one for each core. */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_trainer_add(gpt2x_bpe_trainer* trainer, const char* text,
                                                     size_t size, unsigned num_threads);

/* Learn a vocabulary of `vocab_size` ids, 256 or more, from all texts so far: the 256 bytes in GPT-2's order,
 * then one id for each merge, the most frequent pair first, of equally frequent ones that with the smaller
 * ids. There are fewer where no pair is left to merge. On success *out owns a tokenizer. More texts may be
 * added afterwards, and learning starts anew. */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_trainer_learn(const gpt2x_bpe_trainer* trainer, uint32_t vocab_size,
                                                       gpt2x_bpe_tokenizer** out);

/* Free a trainer; null is allowed. */
GPT2X_BPE_API void gpt2x_bpe_trainer_free(gpt2x_bpe_trainer* trainer);

/* Write the rank file of a tokenizer, which gpt2x_bpe_load reads. At most `capacity` bytes are written to
 * `data`; *size is always set to the number that the file has. */
GPT2X_BPE_API gpt2x_bpe_status gpt2x_bpe_save_memory(const gpt2x_bpe_tokenizer* tokenizer, char* data,
                                                     size_t capacity, size_t* size);

#ifdef __cplusplus
}
#endif

#endif /* GPT2X_BPE_H */
