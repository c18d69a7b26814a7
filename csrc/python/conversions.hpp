// Conversions between Python's objects and the core's that every part of gpt2x._bpe uses.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

namespace conversions {

namespace py = pybind11;

inline std::string_view view(const py::bytes& bytes) {
  return static_cast<std::string_view>(bytes);
}

inline py::bytes to_bytes(std::string_view text) {
  return {text.data(), text.size()};
}

inline unsigned to_num_threads(int num_threads) {
  if (num_threads < 0) {
    throw py::value_error("num_threads is " + std::to_string(num_threads) +
                          "; give 0 for all cores, or more");
  }
  return static_cast<unsigned>(num_threads);
}

// Runs `work` without the GIL and hands back its result.
template <typename Work>
auto without_gil(const Work& work) {
  const py::gil_scoped_release released;
  return work();
}

}  // namespace conversions
