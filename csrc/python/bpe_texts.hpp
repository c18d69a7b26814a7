// Texts from Python, and tokens to Python, without a copy where there is a way.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gpt2x/bpe/tokenizer.hpp"

namespace conversions {

namespace py = pybind11;
namespace bpe = gpt2x::bpe;

/// A `str` or `bytes` as the core takes it. Holds a reference, so that the bytes stay where they are.
class Text {
 public:
  /// Throws TypeError for anything else. Of a str, surrogate pairs join and lone surrogates become U+FFFD.
  explicit Text(py::object text) : owner_(std::move(text)) {
    if (PyBytes_Check(owner_.ptr())) {
      bytes_ = {PyBytes_AS_STRING(owner_.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(owner_.ptr()))};
      kind_ = bpe::Tokenizer::Text::kAnyBytes;
    } else if (PyUnicode_Check(owner_.ptr())) {
      view_str();
    } else {
      throw py::type_error("a text is " + std::string(Py_TYPE(owner_.ptr())->tp_name) +
                           "; give str or bytes");
    }
  }

  [[nodiscard]] std::string_view bytes() const { return bytes_; }
  [[nodiscard]] bpe::Tokenizer::Text kind() const { return kind_; }

 private:
  // CPython keeps the UTF-8 form beside the string, so it is made once; of ASCII the string itself is it.
  void view_str() {
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(owner_.ptr(), &size);
    if (data == nullptr) {
      if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw py::error_already_set();
      PyErr_Clear();
      owner_ = join_surrogates(owner_);
      data = PyUnicode_AsUTF8AndSize(owner_.ptr(), &size);
      if (data == nullptr) throw py::error_already_set();
    }
    bytes_ = {data, static_cast<std::size_t>(size)};
    kind_ = bpe::Tokenizer::Text::kWellformedUtf8;
  }

  static py::object join_surrogates(const py::object& text) {
    const auto checked = [](PyObject* object) {
      if (object == nullptr) throw py::error_already_set();
      return py::reinterpret_steal<py::object>(object);
    };
    const py::object utf16 = checked(PyUnicode_AsEncodedString(text.ptr(), "utf-16-le", "surrogatepass"));
    int little_endian = -1;
    return checked(PyUnicode_DecodeUTF16(PyBytes_AS_STRING(utf16.ptr()), PyBytes_GET_SIZE(utf16.ptr()),
                                         "replace", &little_endian));
  }

  py::object owner_;
  std::string_view bytes_;
  bpe::Tokenizer::Text kind_{};
};

inline std::vector<Text> to_texts(const py::iterable& items) {
  std::vector<Text> texts;
  for (const py::handle item : items) texts.emplace_back(py::reinterpret_borrow<py::object>(item));
  return texts;
}

/// Python's integers for the ids of a vocabulary, each made once. A list of tokens then holds references to
/// them, which is several times as fast as making an integer for each token, and smaller.
class SharedInts {
 public:
  explicit SharedInts(std::size_t num_ids) : ints_(num_ids) {}
  SharedInts(const SharedInts&) = delete;
  SharedInts& operator=(const SharedInts&) = delete;
  ~SharedInts() {
    for (PyObject* const number : ints_) Py_XDECREF(number);
  }

  /// To be called with the GIL held.
  py::list list(std::span<const bpe::TokenId> ids) {
    py::list list(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), Py_NewRef(get(ids[i])));
    }
    return list;
  }

 private:
  PyObject* get(bpe::TokenId id) {
    PyObject*& number = ints_[id];
    if (number == nullptr) {
      number = PyLong_FromUnsignedLong(id);
      if (number == nullptr) throw py::error_already_set();
    }
    return number;
  }

  std::vector<PyObject*> ints_;  // null until it is asked for
};

/// Collects tokens in memory that becomes a NumPy array. Room is asked for once, for the most that there may
/// be, and given back afterwards: what is never written to takes no memory.
template <typename Id>
class ArraySink final : public bpe::TokenSink {
 public:
  explicit ArraySink(std::size_t most) : data_(static_cast<Id*>(std::malloc((most + 1) * sizeof(Id)))) {
    if (data_ == nullptr) throw std::bad_alloc();
  }

  void take(std::span<const bpe::TokenId> tokens) override {
    Id* const out = data_.get() + size_;
    for (std::size_t i = 0; i < tokens.size(); ++i) out[i] = static_cast<Id>(tokens[i]);
    size_ += tokens.size();
  }

  /// The tokens as an array that owns the memory. To be called once, with the GIL held.
  py::array_t<Id> to_array() {
    if (void* const smaller = std::realloc(data_.get(), (size_ + 1) * sizeof(Id))) {
      static_cast<void>(data_.release());
      data_.reset(static_cast<Id*>(smaller));
    }
    Id* const data = data_.get();
    const py::capsule owner(data, [](void* memory) { std::free(memory); });
    static_cast<void>(data_.release());
    return py::array_t<Id>(static_cast<py::ssize_t>(size_), data, owner);
  }

 private:
  struct Free {
    void operator()(Id* data) const { std::free(data); }
  };
  std::unique_ptr<Id, Free> data_;
  std::size_t size_ = 0;
};

/// Writes tokens to a caller's buffer as long as there is room, and counts them all.
template <typename Id>
class BufferSink final : public bpe::TokenSink {
 public:
  explicit BufferSink(std::span<Id> room) : room_(room) {}

  void take(std::span<const bpe::TokenId> tokens) override {
    const std::size_t fitting = size < room_.size() ? std::min(tokens.size(), room_.size() - size) : 0;
    for (std::size_t i = 0; i < fitting; ++i) room_[size + i] = static_cast<Id>(tokens[i]);
    size += tokens.size();
  }

  std::size_t size = 0;

 private:
  std::span<Id> room_;
};

}  // namespace conversions
