// Runs the fuzz target without libFuzzer: on the files that are given, or on random input.
//
//     fuzz_encode_replay FILE...
//     fuzz_encode_replay --random COUNT
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>

#include "samples.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--random") {
    std::mt19937 random(2026);
    const int count = std::atoi(argv[2]);
    for (int i = 0; i < count; ++i) {
      // The first two bytes choose vocabulary, pattern, and what stands before the text.
      const std::string choice{static_cast<char>(random()), static_cast<char>(random())};
      run(choice + samples::random_text(random, random() % 60, i % 2 == 0));
    }
    std::printf("%d random inputs agree with the reference\n", count);
    return 0;
  }
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    run({std::istreambuf_iterator<char>(file), {}});
  }
  std::printf("%d files agree with the reference\n", argc - 1);
  return 0;
}
