/* The C ABI, used from C: load, encode, decode, train, save, free, every way in which that can fail, and the
 * golden vectors, of which the folder is the argument. */
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

/* The same ids in 16 bits, and how many they are. */
static void check_sixteen_bits(const gpt2x_bpe_tokenizer* tokenizer) {
  uint16_t ids[4] = {7, 7, 7, 7};
  size_t count = 0;
  CHECK(gpt2x_bpe_encode16(tokenizer, "abc", 3, ids, 1, &count) == GPT2X_BPE_BUFFER_TOO_SMALL);
  CHECK(count == 2 && ids[0] == 256 && ids[1] == 7);
  CHECK(gpt2x_bpe_encode16(tokenizer, "abc", 3, ids, 3, &count) == GPT2X_BPE_OK);
  CHECK(count == 2 && ids[0] == 256 && ids[1] == 'c' && ids[2] == 7);
  CHECK(gpt2x_bpe_count(tokenizer, "abc", 3, &count) == GPT2X_BPE_OK && count == 2);
  CHECK(gpt2x_bpe_count(tokenizer, NULL, 0, &count) == GPT2X_BPE_OK && count == 0);
}

/* A vocabulary whose last id is 65,536 is one too large for 16 bits. */
static void check_wide_ids(const char* ranks, size_t size) {
  static char wide[256 * 16 + 32];
  gpt2x_bpe_tokenizer* tokenizer = NULL;
  uint16_t narrow[4];
  uint32_t ids[4];
  size_t count = 9;
  memcpy(wide, ranks, size);
  size += (size_t)sprintf(wide + size, "Y2Q= 65536\n");
  CHECK(gpt2x_bpe_load_memory(wide, size, "gpt2", &tokenizer) == GPT2X_BPE_OK);
  CHECK(gpt2x_bpe_encode(tokenizer, "cd", 2, ids, 4, &count) == GPT2X_BPE_OK && count == 1 &&
        ids[0] == 65536);
  CHECK(gpt2x_bpe_encode16(tokenizer, "cd", 2, narrow, 4, &count) == GPT2X_BPE_INVALID_ARGUMENT &&
        count == 0);
  CHECK(strstr(gpt2x_bpe_last_error(), "16 bits") != NULL);
  gpt2x_bpe_free(tokenizer);
}

static void check_token_bytes(const gpt2x_bpe_tokenizer* tokenizer) {
  const char* bytes = "";
  size_t size = 9;
  CHECK(gpt2x_bpe_token_bytes(tokenizer, 257, &bytes, &size) == GPT2X_BPE_OK);
  CHECK(size == 3 && memcmp(bytes, " ab", 3) == 0);
  CHECK(gpt2x_bpe_token_bytes(tokenizer, 258, &bytes, &size) == GPT2X_BPE_UNKNOWN_TOKEN);
  CHECK(bytes == NULL && size == 0 && strstr(gpt2x_bpe_last_error(), "258") != NULL);
  CHECK(gpt2x_bpe_token_bytes(tokenizer, 0, NULL, &size) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_token_bytes(NULL, 0, &bytes, &size) == GPT2X_BPE_INVALID_ARGUMENT);
}

/* "ab" is the most frequent pair, then " ab"; the learned tokenizer comes back from its rank file. */
static void check_training(void) {
  static char file[256 * 16];
  static const char text[] = "ab ab ab ab ac";
  gpt2x_bpe_trainer* trainer = NULL;
  gpt2x_bpe_tokenizer* learned = NULL;
  gpt2x_bpe_tokenizer* loaded = NULL;
  uint32_t ids[16];
  size_t count = 0;
  size_t size = 0;
  CHECK(gpt2x_bpe_trainer_new("gpt2", &trainer) == GPT2X_BPE_OK && trainer != NULL);
  CHECK(gpt2x_bpe_trainer_add(trainer, text, sizeof text - 1, 1) == GPT2X_BPE_OK);
  CHECK(gpt2x_bpe_trainer_add(trainer, NULL, 0, 0) == GPT2X_BPE_OK);
  CHECK(gpt2x_bpe_trainer_learn(trainer, 258, &learned) == GPT2X_BPE_OK);
  CHECK(gpt2x_bpe_vocab_size(learned) == 258);
  CHECK(gpt2x_bpe_encode(learned, text, sizeof text - 1, ids, 16, &count) == GPT2X_BPE_OK);
  CHECK(count == 7 && ids[0] == 256 && ids[1] == 257 && ids[3] == 257);
  CHECK(gpt2x_bpe_save_memory(learned, NULL, 0, &size) == GPT2X_BPE_BUFFER_TOO_SMALL && size <= sizeof file);
  CHECK(gpt2x_bpe_save_memory(learned, file, sizeof file, &size) == GPT2X_BPE_OK);
  CHECK(gpt2x_bpe_load_memory(file, size, "gpt2", &loaded) == GPT2X_BPE_OK);
  CHECK(gpt2x_bpe_count(loaded, text, sizeof text - 1, &size) == GPT2X_BPE_OK && size == count);
  gpt2x_bpe_free(loaded);
  gpt2x_bpe_free(learned);

  CHECK(gpt2x_bpe_trainer_learn(trainer, 99999, &learned) == GPT2X_BPE_OK);
  CHECK(gpt2x_bpe_vocab_size(learned) == 260); /* two more merges make " ac", and no pair is left */
  gpt2x_bpe_free(learned);
  CHECK(gpt2x_bpe_trainer_learn(trainer, 255, &learned) == GPT2X_BPE_INVALID_ARGUMENT && learned == NULL);
  CHECK(gpt2x_bpe_trainer_learn(NULL, 256, &learned) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_trainer_learn(trainer, 256, NULL) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_trainer_add(NULL, text, 1, 1) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_trainer_add(trainer, NULL, 1, 1) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_save_memory(NULL, file, sizeof file, &size) == GPT2X_BPE_INVALID_ARGUMENT);
  gpt2x_bpe_trainer_free(trainer);
  gpt2x_bpe_trainer_free(NULL);
  CHECK(gpt2x_bpe_trainer_new("gpt9", &trainer) == GPT2X_BPE_INVALID_ARGUMENT && trainer == NULL);
  CHECK(gpt2x_bpe_trainer_new(NULL, &trainer) == GPT2X_BPE_INVALID_ARGUMENT);
  CHECK(gpt2x_bpe_trainer_new("gpt2", NULL) == GPT2X_BPE_INVALID_ARGUMENT);
}

/* Encodes a text in one call each way, into buffers that are as large as they need to be, and back. */
static void check_vector(const gpt2x_bpe_tokenizer* tokenizer, const char* text, size_t size,
                         const uint32_t* expected, size_t num_expected) {
  static uint32_t ids[1 << 16];
  static uint16_t narrow[1 << 16];
  static char decoded[1 << 16];
  size_t count = 0;
  size_t i;
  CHECK(size <= sizeof decoded);
  CHECK(gpt2x_bpe_encode(tokenizer, text, size, ids, num_expected, &count) == GPT2X_BPE_OK);
  CHECK(count == num_expected && memcmp(ids, expected, count * sizeof *ids) == 0);
  CHECK(gpt2x_bpe_encode16(tokenizer, text, size, narrow, num_expected, &count) == GPT2X_BPE_OK);
  for (i = 0; i < num_expected; ++i) CHECK(narrow[i] == expected[i]);
  CHECK(gpt2x_bpe_decode(tokenizer, expected, num_expected, decoded, size, &count) == GPT2X_BPE_OK);
  CHECK(count == size && memcmp(decoded, text, size) == 0);
}

/* Lines of "hex of the text's bytes, tab, ids with spaces between". */
static void check_golden_vectors(const char* folder) {
  static char line[1 << 18];
  static char text[1 << 16];
  static uint32_t ids[1 << 16];
  gpt2x_bpe_tokenizer* tokenizer = NULL;
  FILE* file;
  int num_vectors = 0;
  snprintf(line, sizeof line, "%s/songs.tiktoken", folder);
  CHECK(gpt2x_bpe_load(line, "gpt2", &tokenizer) == GPT2X_BPE_OK);
  snprintf(line, sizeof line, "%s/encode_vectors.tsv", folder);
  file = fopen(line, "rb");
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    const char* at = line;
    char* end = NULL;
    size_t size = 0;
    size_t count = 0;
    if (*line == '#') continue;
    for (; *at != '\t'; at += 2) {
      const char digits[3] = {at[0], at[1], 0};
      text[size++] = (char)strtoul(digits, NULL, 16);
    }
    for (++at; *at == ' ' || (*at >= '0' && *at <= '9'); at = end)
      ids[count++] = (uint32_t)strtoul(at, &end, 10);
    check_vector(tokenizer, text, size, ids, count);
    ++num_vectors;
  }
  CHECK(num_vectors >= 100);
  fclose(file);
  gpt2x_bpe_free(tokenizer);
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

int main(int argc, char** argv) {
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
  check_sixteen_bits(tokenizer);
  check_wide_ids(ranks, size);
  check_token_bytes(tokenizer);
  check_training();
  CHECK(argc == 2);
  check_golden_vectors(argv[1]);
  check_errors(tokenizer, ranks, size);
  gpt2x_bpe_free(tokenizer);
  gpt2x_bpe_free(NULL);
  printf("%d checks passed\n", num_checks);
  return 0;
}
