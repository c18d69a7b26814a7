// What each step of learning a vocabulary takes, in time and in memory:
//
//     bpe_training TEXT_FILE [VOCABULARY_SIZE [THREADS [REPETITIONS]]]
//
// Times are medians of the repetitions. Memory is how far the process grew beyond the text, at the most.
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/splitter.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/trainer.hpp"

namespace bpe = gpt2x::bpe;

namespace {

struct Run {
  double split_ms;
  double count_ms;
  double prepare_ms;  // laying out the pieces, counting pairs
  double merge_ms;
  std::size_t num_unique;
  std::size_t num_merges;
  std::uint64_t last_count;
};

class Stopwatch {
 public:
  /// Milliseconds since the last call, or since the watch was made.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

Run run_once(const std::string& text, std::size_t max_merges, unsigned num_threads) {
  Run run{};
  Stopwatch watch;
  std::size_t num_pieces = 0;
  bpe::Splitter splitter(bpe::Pattern::kGpt2, text, bpe::valid_utf8_prefix(text) == text.size());
  while (splitter.next()) num_pieces += splitter.ends().size();
  run.split_ms = watch.lap();
  bpe::PieceCounter counter(bpe::Pattern::kGpt2);
  counter.add(text, num_threads);
  run.count_ms = watch.lap();
  if (counter.num_pieces() != num_pieces) throw std::logic_error("threads counted other pieces");
  run.num_unique = counter.num_unique();
  bpe::MergeLearner learner(std::move(counter), {.max_merges = max_merges});
  run.prepare_ms = watch.lap();
  while (const auto merge = learner.next()) {
    ++run.num_merges;
    run.last_count = merge->count;
  }
  run.merge_ms = watch.lap();
  return run;
}

double median(const std::vector<Run>& runs, double Run::* member) {
  std::vector<double> values;
  for (const Run& run : runs) values.push_back(run.*member);
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

// The text lies in memory once, so that the peak is that of learning.
std::string read_once(const char* path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw bpe::IoError(std::string("cannot read ") + path);
  std::string text(static_cast<std::size_t>(file.tellg()), '\0');
  file.seekg(0).read(text.data(), static_cast<std::streamsize>(text.size()));
  return text;
}

void run(const char* path, std::size_t vocabulary_size, unsigned num_threads, int repetitions) {
  const std::string text = read_once(path);
  const double before = peak_megabytes();
  std::vector<Run> runs;
  for (int i = 0; i < repetitions; ++i) runs.push_back(run_once(text, vocabulary_size - 256, num_threads));
  const double after = peak_megabytes();

  const double megabytes = static_cast<double>(text.size()) / 1e6;
  std::printf("%.1f MB, %zu distinct pieces, %zu merges, the last of count %llu\n", megabytes,
              runs[0].num_unique, runs[0].num_merges, static_cast<unsigned long long>(runs[0].last_count));
  const std::array<std::pair<const char*, double Run::*>, 4> steps{{
      {"split (one thread)", &Run::split_ms},
      {"count pieces", &Run::count_ms},
      {"prepare", &Run::prepare_ms},
      {"merge", &Run::merge_ms},
  }};
  for (const auto& [name, member] : steps) {
    const double ms = median(runs, member);
    std::printf("%-20s %9.2f ms  %8.1f MB/s\n", name, ms, megabytes / ms * 1e3);
  }
  std::printf("memory beyond the text, at most %.1f MB\n", after - before);
}

}  // namespace

int main(int argc, char** argv) {
  const long vocabulary_size = argc > 2 ? std::atol(argv[2]) : 32768;
  const long num_threads = argc > 3 ? std::atol(argv[3]) : 1;
  const int repetitions = argc > 4 ? std::atoi(argv[4]) : 5;
  if (argc < 2 || vocabulary_size < 256 || num_threads < 0 || repetitions < 1) {
    std::fprintf(stderr, "usage: %s TEXT_FILE [VOCABULARY_SIZE [THREADS [REPETITIONS]]]\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], static_cast<std::size_t>(vocabulary_size), static_cast<unsigned>(num_threads), repetitions);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
