/* The C ABI, used from C: load, encode, decode, free, and every way in which that can fail. */
#include "gpt2x_bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int num_checks = 0;

#define CHECK(condition)                                                                   \
  do {                                                                                     \
    ++num_checks;                                                                          \
    if (!(condition)) {                                                                    \
      printf("%s:%d: %s does not hold (last error: %s)\n", __FILE__, __LINE__, #condition, \
             gpt2x_bpe_last_error());                                                      \
      exit(1);                                                                             \
    }                                                                                      \
  } while (0)

/* The 256 single bytes with their values as ranks, then "ab" and " ab". */
static size_t make_rank_file(char* out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t size = 0;
  int byte;
  for (byte = 0; byte < 256; ++byte) {
    size += (size_t)sprintf(out + size, "%c%c== %d\n", digits[byte >> 2], digits[(byte & 3) << 4], byte);
  }
  size += (size_t)sprintf(out + size, "YWI= 256\nIGFi 257\n");
  return size;
}

static void check_round_trip(const gpt2x_bpe_tokenizer* tokenizer) {
  static const char text[] = "ab ab c\0\xff";
  const size_t text_size = sizeof text - 1;
  uint32_t ids[16];
  char decoded[16];
  size_t count = 0;
  size_t size = 0;
  CHECK(gpt2x_bpe_encode(tokenizer, text, text_size, ids, 16, &count) == GPT2X_BPE_OK);
  CHECK(count == 6 && ids[0] == 256 && ids[1] == 257 && ids[2] == ' ' && ids[3] == 'c' && ids[4] == 0 &&
        ids[5] == 255);
  CHECK(gpt2x_bpe_decode(tokenizer, ids, count, decoded, 16, &size) == GPT2X_BPE_OK);
  CHECK(size == text_size && memcmp(decoded, text, size) == 0);

  CHECK(gpt2x_bpe_encode(tokenizer, NULL, 0, NULL, 0, &count) == GPT2X_BPE_OK && count == 0);
  CHECK(gpt2x_bpe_decode(tokenizer, NULL, 0, NULL, 0, &size) == GPT2X_BPE_OK && size == 0);
}

static void check_small_buffers(const gpt2x_bpe_tokenizer* tokenizer) {
  uint32_t ids[3] = {7, 7, 7};
  char text[3] = {'x', 'x', 'x'};
  size_t count = 0;
  size_t size = 0;
  CHECK(gpt2x_bpe_encode(tokenizer, "abc", 3, ids, 1, &count) == GPT2X_BPE_BUFFER_TOO_SMALL);
  CHECK(count == 2 && ids[0] == 256 && ids[1] == 7);
  CHECK(gpt2x_bpe_encode(tokenizer, "abc", 3, NULL, 0, &count) == GPT2X_BPE_BUFFER_TOO_SMALL && count == 2);
  CHECK(gpt2x_bpe_encode(tokenizer, "abc", 3, ids, 2, &count) == GPT2X_BPE_OK && count == 2);
  CHECK(gpt2x_bpe_decode(tokenizer, ids, 2, text, 2, &size) == GPT2X_BPE_BUFFER_TOO_SMALL);
  CHECK(size == 3 && text[0] == 'a' && text[1] == 'b' && text[2] == 'x');
}

static void check_errors(const gpt2x_bpe_tokenizer* tokenizer, const char* ranks, size_t size) {
  const uint32_t unknown = 258;
  gpt2x_bpe_tokenizer* none = (gpt2x_bpe_tokenizer*)1;
  char text[8];
  size_t count = 9;
  CHECK(gpt2x_bpe_decode(tokenizer, &unknown, 1, text, 8, &count) == GPT2X_BPE_UNKNOWN_TOKEN && count == 0);
  CHECK(strstr(gpt2x_bpe_last_error(), "258") != NULL);
  CHECK(gpt2x_bpe_load("/no/such/file", "gpt2", &none) == GPT2X_BPE_IO_ERROR && none == NULL);
  CHECK(strstr(gpt2x_bpe_last_error(), "/no/such/file") != NULL);
  CHECK(gpt2x_bpe_load_memory(ranks, size / 2, "gpt2", &none) == GPT2X_BPE_BAD_FORMAT && none == NULL);
  CHECK(gpt2x_bpe_load_memory("IQ", 2, "gpt2", &none) == GPT2X_BPE_BAD_FORMAT && none == NULL);
  const char* patterns[] = {"gpt2", "cl100k", "o200k", "llama3", "qwen2", "deepseek"};
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; ++i) {
    gpt2x_bpe_tokenizer* loaded = NULL;
    CHECK(gpt2x_bpe_load_memory(ranks, size, patterns[i], &loaded) == GPT2X_BPE_OK && loaded != NULL);
    gpt2x_bpe_free(loaded);
  }
  CHECK(gpt2x_bpe_load_memory(ranks, size, "gpt9", &none) == GPT2X_BPE_INVALID_ARGUMENT && none == NULL);
  CHECK(gpt2x_bpe_load_memory(ranks, size, NULL, &none) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_load_memory(NULL, size, "gpt2", &none) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_load_memory(ranks, size, "gpt2", NULL) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_load(NULL, "gpt2", &none) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_encode(NULL, "a", 1, NULL, 0, &count) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_encode(tokenizer, NULL, 1, NULL, 0, &count) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_encode(tokenizer, "a", 1, NULL, 1, &count) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_encode(tokenizer, "a", 1, NULL, 0, NULL) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_decode(NULL, NULL, 0, NULL, 0, &count) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_decode(tokenizer, NULL, 1, text, 8, &count) == GPT2X_BPE_INVALID_ARGUMENT);
}

int main(void) {
  static char ranks[256 * 16];
  const size_t size = make_rank_file(ranks);
  gpt2x_bpe_tokenizer* tokenizer = NULL;
  CHECK(strcmp(gpt2x_bpe_version(), GPT2X_BPE_VERSION) == 0);
  CHECK(strcmp(gpt2x_bpe_unicode_version(), "16.0.0") == 0);
  CHECK(strcmp(gpt2x_bpe_last_error(), "") == 0);
  CHECK(gpt2x_bpe_load_memory(ranks, size, "gpt2", &tokenizer) == GPT2X_BPE_OK && tokenizer != NULL);
  CHECK(gpt2x_bpe_vocab_size(tokenizer) == 258);
  CHECK(gpt2x_bpe_vocab_size(NULL) == 0);
  check_round_trip(tokenizer);
  check_small_buffers(tokenizer);
  check_errors(tokenizer, ranks, size);
  gpt2x_bpe_free(tokenizer);
  gpt2x_bpe_free(NULL);
  printf("%d checks passed\n", num_checks);
  return 0;
}
