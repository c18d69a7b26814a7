// Throughput of every step of the core on one thread:
//
//     bpe_throughput RANK_FILE TEXT_FILE [REPETITIONS]
//
// The median of the repetitions is shown, so a busy moment of the machine does not count. The first call is
// in a row of its own, since it also pays for fresh memory.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "gpt2x/bpe/internal/splitter.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/rank_file.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "gpt2x/bpe/trainer.hpp"

namespace bpe = gpt2x::bpe;

namespace {

// Results end up here, so that no compiler leaves the work out.
volatile std::size_t sink;

double seconds(const std::function<std::size_t()>& work) {
  const auto start = std::chrono::steady_clock::now();
  sink = work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void report(const char* name, std::size_t num_bytes, int repetitions,
            const std::function<std::size_t()>& work) {
  const double first = seconds(work);
  std::vector<double> times;
  for (int i = 0; i < repetitions; ++i) times.push_back(seconds(work));
  std::ranges::nth_element(times, times.begin() + repetitions / 2);
  const double median = times[repetitions / 2];
  const double megabytes = static_cast<double>(num_bytes) / 1e6;
  std::printf("%-22s %8.1f MB/s  %8.2f ms   first %8.2f ms\n", name, megabytes / median, median * 1e3,
              first * 1e3);
}

std::size_t learn(const bpe::PieceCounter& pieces, std::size_t num_merges) {
  bpe::MergeLearner learner(pieces);
  std::size_t learned = 0;
  while (learned < num_merges && learner.next()) ++learned;
  return learned;
}

void run(const char* rank_path, const char* text_path, int repetitions) {
  const std::string ranks = bpe::read_file(rank_path);
  const std::string text = bpe::read_file(text_path);
  const bpe::Tokenizer tokenizer(bpe::vocabulary_from_ranks(bpe::parse_rank_file(ranks)),
                                 bpe::Pattern::kGpt2);
  const std::vector<bpe::TokenId> ids = tokenizer.encode(text);
  bpe::PieceCounter pieces(bpe::Pattern::kGpt2);
  pieces.add(text);
  std::printf("%.1f MB, %llu pieces (%zu distinct), %zu tokens\n", static_cast<double>(text.size()) / 1e6,
              static_cast<unsigned long long>(pieces.num_pieces()), pieces.num_unique(), ids.size());

  report("load rank file", ranks.size(), repetitions,
         [&] { return bpe::vocabulary_from_ranks(bpe::parse_rank_file(ranks)).size(); });
  report("check UTF-8", text.size(), repetitions, [&] { return bpe::valid_utf8_prefix(text); });
  report("split", text.size(), repetitions, [&] {
    std::size_t num_pieces = 0;
    bpe::for_each_piece(bpe::Pattern::kGpt2, text, [&](std::string_view) { ++num_pieces; });
    return num_pieces;
  });
  report("encode", text.size(), repetitions, [&] { return tokenizer.encode(text).size(); });
  report("count tokens", text.size(), repetitions, [&] { return tokenizer.count(text); });
  report("decode", text.size(), repetitions, [&] { return tokenizer.decode(ids).size(); });
  report("count pieces", text.size(), repetitions, [&] {
    bpe::PieceCounter counter(bpe::Pattern::kGpt2);
    counter.add(text);
    return counter.num_unique();
  });
  report("learn 7,936 merges", text.size(), std::min(repetitions, 5),
         [&] { return learn(pieces, 8192 - 256); });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s RANK_FILE TEXT_FILE [REPETITIONS]\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], argv[2], argc > 3 ? std::max(1, std::atoi(argv[3])) : 11);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
