// gpt2x._bpe: the tokenizer core for Python. Only conversions live here; gpt2x/_bpe.pyi says what each name
// promises.
//
// Long calls release the GIL, but for `split`, which makes Python objects. While it is released no Python
// object is touched except the contents of `bytes` and `str`, which cannot change, and of arrays and buffers,
// which may: then results are of no use, or the call raises, and nothing is read or written outside. All are
// kept alive by a reference.
#include <pybind11/pybind11.h>

#include <exception>
#include <string_view>

#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"

namespace py = pybind11;
namespace bpe = gpt2x::bpe;

void bind_encoding(py::module_& module);  // bpe_encoding.cpp
void bind_training(py::module_& module);  // bpe_training.cpp

namespace {

py::list pattern_names() {
  py::list names;
  for (const std::string_view name : bpe::kPatternNames) names.append(py::str(name.data(), name.size()));
  return names;
}

}  // namespace

PYBIND11_MODULE(_bpe, module) {
  module.doc() = "The tokenizer core (csrc/bpe); gpt2x.tokenizer is the public face.";
  module.attr("unicode_version") = bpe::unicode_version();
  module.attr("patterns") = pattern_names();

  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const bpe::UnknownTokenError& unknown) {
      PyErr_SetString(PyExc_KeyError, unknown.what());
    } catch (const bpe::FormatError& format) {
      PyErr_SetString(PyExc_ValueError, format.what());
    }
  });

  bind_encoding(module);
  bind_training(module);
}
