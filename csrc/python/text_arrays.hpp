// NumPy arrays and lists of bytes as the spans that csrc/text takes, and refusals; for the files of
// gpt2x._text.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace gpt2x::python {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

inline void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

// Views into `bytes`, which cannot change and which the caller's list keeps alive.
inline std::vector<std::string_view> views_of(const py::list& texts) {
  std::vector<std::string_view> views;
  views.reserve(texts.size());
  for (const py::handle text : texts) views.push_back(py::cast<std::string_view>(py::cast<py::bytes>(text)));
  return views;
}

template <class T>
std::span<const T> span_of(const Array<T>& array) {
  return {array.data(), static_cast<size_t>(array.size())};
}

template <class T>
std::span<T> changeable(Array<T>& array) {
  return {array.mutable_data(), static_cast<size_t>(array.size())};
}

// Adds Scorer to gpt2x._text (text_scoring.cpp).
void add_scoring(py::module_& module);

}  // namespace gpt2x::python
