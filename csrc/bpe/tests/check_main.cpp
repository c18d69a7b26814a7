// Runs the tests whose file or name holds the first argument; all of them without one.
#include <cstdio>
#include <exception>

#include "check.hpp"

int main(int argc, char** argv) {
  const std::string_view wanted = argc > 1 ? argv[1] : "";
  int num_passed = 0;
  int num_failed = 0;
  for (const check::Test& test : check::tests()) {
    if (test.file.find(wanted) == std::string_view::npos && test.name.find(wanted) == std::string_view::npos)
      continue;
    try {
      test.run();
      ++num_passed;
    } catch (const std::exception& error) {
      ++num_failed;
      std::printf("FAILED: %.*s\n  %s\n", static_cast<int>(test.name.size()), test.name.data(), error.what());
    }
  }
  std::printf("%d passed, %d failed\n", num_passed, num_failed);
  return num_failed > 0 || num_passed == 0;
}
