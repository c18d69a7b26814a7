// What a fuzz target is: one function that takes any bytes and aborts where something does not hold.
//
// libFuzzer finds the bytes itself. replay.cpp, which needs no libFuzzer, asks the target for random ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

/// An input such as the target reads; the same for the same state of `random`.
std::string random_input(std::mt19937& random);

/// `which` is added where it says more: a version of the kernels, say.
inline void require(bool holds, const char* what, const char* which = "") {
  if (holds) return;
  std::fprintf(stderr, "%s %s\n", what, which);
  std::abort();
}
