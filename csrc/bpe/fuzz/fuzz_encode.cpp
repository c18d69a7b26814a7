// Differential fuzzing: whatever the bytes, the core must give what the plain reference gives.
//
// With clang, -DGPT2X_FUZZ=ON links this with libFuzzer. With any compiler, replay.cpp drives it with files
// (a crash that was found elsewhere) or with random input.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "gpt2x/bpe/encoder.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "reference.hpp"
#include "samples.hpp"

namespace bpe = gpt2x::bpe;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bpe::Tokenizer tokenizer(samples::vocabulary(samples::ranks()), bpe::Pattern::kGpt2);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::vector<bpe::TokenId> tokens = tokenizer.encode(text);
  require(tokens == reference::encode(samples::ranks(), text), "encode differs from the reference");
  require(tokenizer.count(text) == tokens.size(), "count differs from encode");
  require(tokenizer.decode(tokens) == text, "decode does not give the text back");

  std::vector<bpe::TokenId> scanned;
  std::vector<bpe::TokenId> heaped;
  const std::string_view piece = text.substr(0, bpe::kMaxScanBytes);
  bpe::merge_by_scan(tokenizer.vocabulary(), piece, scanned);
  bpe::merge_by_heap(tokenizer.vocabulary(), piece, heaped);
  require(scanned == heaped, "the two merge algorithms differ");
  return 0;
}
