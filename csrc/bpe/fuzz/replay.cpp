// Runs a fuzz target without libFuzzer: on the files that are given, or on random input.
//
//     fuzz_encode_replay FILE...
//     fuzz_encode_replay --random COUNT [FIRST]
//     fuzz_encode_replay --seconds SECONDS [FIRST]
//
// Random inputs have numbers, FIRST (0) and up, and each follows from its number alone. An abort tells the
// number; with ASAN_OPTIONS=abort_on_error=1 what a sanitizer finds does, too.
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <string_view>

#include "target.hpp"

namespace {

using Clock = std::chrono::steady_clock;

// What the handler prints; made before each input, since it may not allocate.
char name_of_input[64];

void tell_input(int) {
  std::fputs(name_of_input, stderr);
}

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

void run_random(unsigned long first, unsigned long count, Clock::time_point stop) {
  std::signal(SIGABRT, tell_input);
  unsigned long done = 0;
  for (; done < count && Clock::now() < stop; ++done) {
    std::snprintf(name_of_input, sizeof name_of_input, "it was --random 1 %lu\n", first + done);
    std::mt19937 random(static_cast<std::mt19937::result_type>(first + done));
    run(random_input(random));
  }
  std::printf("%lu random inputs: all holds\n", done);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view option = argc > 1 ? argv[1] : "";
  if (option == "--random" || option == "--seconds") {
    const unsigned long amount = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1;
    const unsigned long first = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 0;
    if (option == "--random") {
      run_random(first, amount, Clock::time_point::max());
    } else {
      run_random(first, std::numeric_limits<unsigned long>::max(),
                 Clock::now() + std::chrono::seconds(amount));
    }
    return 0;
  }
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    run({std::istreambuf_iterator<char>(file), {}});
  }
  std::printf("%d files: all holds\n", argc - 1);
  return 0;
}
