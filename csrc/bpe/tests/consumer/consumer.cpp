// Everything that a user of the library does: learn a vocabulary, save and load it, encode, decode.
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/rank_file.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "gpt2x/bpe/trainer.hpp"
#include "gpt2x/bpe/vocabulary.hpp"

namespace bpe = gpt2x::bpe;

namespace {

// The tokens of a vocabulary: the 256 bytes, then what each merge makes.
std::vector<bpe::RankedToken> learn(const bpe::PieceCounter& pieces, std::size_t num_merges) {
  std::vector<bpe::RankedToken> tokens;
  const auto add = [&](std::string bytes) {
    tokens.push_back({std::move(bytes), static_cast<bpe::TokenId>(tokens.size())});
  };
  for (const std::uint8_t byte : bpe::gpt2_byte_order()) add(std::string(1, static_cast<char>(byte)));
  bpe::MergeLearner learner(pieces, {.max_merges = num_merges});
  while (const auto merge = learner.next()) add(tokens[merge->left].bytes + tokens[merge->right].bytes);
  return tokens;
}

bool run() {
  const bpe::Pattern pattern = bpe::pattern_from_name("gpt2");
  bpe::PieceCounter pieces(pattern);
  pieces.add("la la la");
  const std::string saved = bpe::format_rank_file(bpe::vocabulary_from_ranks(learn(pieces, 2)));

  const bpe::Vocabulary vocabulary = bpe::vocabulary_from_ranks(bpe::parse_rank_file(saved));
  const std::vector<bpe::Vocabulary::Entry> end{{"<|endoftext|>", vocabulary.size()}};
  const bpe::SpecialTokens specials(end);
  const bpe::Tokenizer tokenizer(vocabulary, pattern, end);
  const std::string_view text = "la la<|endoftext|> la";
  const std::vector<bpe::TokenId> ids =
      tokenizer.encode(text, bpe::Tokenizer::Text::kAnyBytes, {.specials = &specials});
  std::printf("%zu distinct pieces, %zu tokens\n", pieces.num_unique(), ids.size());
  return ids == std::vector<bpe::TokenId>{256, 257, 258, 257} && tokenizer.decode(ids) == text &&
         tokenizer.bytes_of(258) == "<|endoftext|>";
}

bool unknown_ids_are_refused() {
  const bpe::Tokenizer tokenizer(bpe::vocabulary_from_ranks(learn(bpe::PieceCounter(bpe::Pattern::kGpt2), 0)),
                                 bpe::Pattern::kGpt2);
  try {
    static_cast<void>(tokenizer.decode(std::vector<bpe::TokenId>{999}));
  } catch (const bpe::UnknownTokenError&) {
    return true;
  }
  return false;
}

}  // namespace

int main() {
  return run() && unknown_ids_are_refused() ? 0 : 1;
}
