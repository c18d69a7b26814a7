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
#include <type_traits>
#include <utility>
#include <vector>

#include "conversions.hpp"
#include "gpt2x/bpe/internal/code_points.hpp"
#include "gpt2x/bpe/internal/huge_pages.hpp"
#include "gpt2x/bpe/internal/shares.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/tokenizer.hpp"

namespace conversions {

namespace py = pybind11;
namespace bpe = gpt2x::bpe;

/// A `str` or `bytes`, or a part of one, as the core takes it: where it lies.
class TextView {
 public:
  /// How the text lies in memory; the last three are CPython's numbers, the bytes of a code point.
  enum class Form { kBytes = -1, kUtf8 = 0, kLatin1 = 1, kTwoBytes = 2, kFourBytes = 4 };

  TextView(const void* data, std::size_t size, Form form) : data_(data), size_(size), form_(form) {}

  /// Not less than its tokens are.
  [[nodiscard]] std::size_t most_tokens() const {
    return size_ * (form_ <= Form::kUtf8 ? 1 : static_cast<std::size_t>(form_) + 1);
  }

  /// Of a str, characters.
  [[nodiscard]] std::size_t size() const { return size_; }

  /// Hands the text's tokens to `sink`. Of a str, surrogate pairs join and lone surrogates become U+FFFD. May
  /// be called without the GIL.
  void encode(const bpe::Tokenizer& tokenizer, bpe::TokenSink& sink,
              const bpe::EncodeOptions& options) const {
    switch (form_) {
      case Form::kBytes:
        return tokenizer.encode(characters(), sink, bpe::Tokenizer::Text::kAnyBytes, options);
      case Form::kUtf8:
        return tokenizer.encode(characters(), sink, bpe::Tokenizer::Text::kWellformedUtf8, options);
      case Form::kLatin1:
        return tokenizer.encode(code_points<std::uint8_t>(), sink, options);
      case Form::kTwoBytes:
        return tokenizer.encode(code_points<char16_t>(), sink, options);
      case Form::kFourBytes:
        return tokenizer.encode(code_points<char32_t>(), sink, options);
    }
  }

  /// Calls `use` with the text as a span of bytes or of code points.
  template <typename Use>
  auto visit(const Use& use) const {
    switch (form_) {
      case Form::kBytes:
      case Form::kUtf8:
        break;
      case Form::kLatin1:
        return use(code_points<std::uint8_t>());
      case Form::kTwoBytes:
        return use(code_points<char16_t>());
      case Form::kFourBytes:
        return use(code_points<char32_t>());
    }
    return use(code_points<char>());
  }

  /// A copy as UTF-8, or the bytes themselves.
  [[nodiscard]] std::string utf8() const {
    return visit([]<typename Char>(std::span<const Char> text) {
      if constexpr (std::is_same_v<Char, char>) {
        return std::string(text.data(), text.size());
      } else {
        std::string utf8(text.size() * bpe::kMaxUtf8Bytes<Char>, '\0');
        utf8.resize(bpe::to_utf8(text, utf8.data()));
        return utf8;
      }
    });
  }

  /// Parts of about `share` characters that give the tokens of the text, each encoded by itself. Bytes that
  /// are not valid UTF-8 stay together. May be called without the GIL.
  [[nodiscard]] std::vector<TextView> parts(bpe::Pattern pattern, const bpe::SpecialTokens* specials,
                                            std::size_t share) const {
    if (size_ <= share) return {*this};
    if (form_ == Form::kBytes && bpe::valid_utf8_prefix(characters()) < size_) return {*this};
    return visit([&]<typename Char>(std::span<const Char> text) {
      std::vector<TextView> parts;
      std::size_t start = 0;
      for (const std::size_t end : bpe::find_shares(pattern, text, specials, share)) {
        parts.push_back({text.data() + start, end - start, form_ == Form::kBytes ? Form::kUtf8 : form_});
        start = end;
      }
      return parts;
    });
  }

 private:
  [[nodiscard]] std::string_view characters() const { return {static_cast<const char*>(data_), size_}; }

  template <typename Char>
  [[nodiscard]] std::span<const Char> code_points() const {
    return {static_cast<const Char*>(data_), size_};
  }

  const void* data_;
  std::size_t size_;
  Form form_;
};

/// A Python object's text. Holds a reference, so that it stays where it lies.
class Text : public TextView {
 public:
  /// Throws TypeError for what is neither str nor bytes.
  explicit Text(py::object text) : TextView(view_of(text.ptr())), owner_(std::move(text)) {}

 private:
  static TextView view_of(PyObject* object) {
    if (PyBytes_Check(object)) {
      return {PyBytes_AS_STRING(object), static_cast<std::size_t>(PyBytes_GET_SIZE(object)), Form::kBytes};
    }
    if (!PyUnicode_Check(object)) {
      throw py::type_error("a text is " + std::string(Py_TYPE(object)->tp_name) + "; give str or bytes");
    }
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(object) != 0) throw py::error_already_set();  // strings of the oldest kind
#endif
    const Form form = PyUnicode_IS_ASCII(object) ? Form::kUtf8 : static_cast<Form>(PyUnicode_KIND(object));
    return {PyUnicode_DATA(object), static_cast<std::size_t>(PyUnicode_GET_LENGTH(object)), form};
  }

  py::object owner_;
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
    PyObject** const items = reinterpret_cast<PyListObject*>(list.ptr())->ob_item;
    bpe::advise_huge_pages(items, ids.size() * sizeof(PyObject*));
    for (std::size_t start = 0; start < ids.size(); start += kLongWork) {
      if (start > 0) check_signals();
      fill(items + start, ids.subspan(start, std::min(kLongWork, ids.size() - start)));
    }
    return list;
  }

 private:
  void fill(PyObject** item, std::span<const bpe::TokenId> ids) {
    PyObject** const ints = ints_.data();
    const std::size_t num_ints = ints_.size();
    for (const bpe::TokenId id : ids) {
      if (id >= num_ints) [[unlikely]] {  // of a special token
        *item++ = make(id);
        continue;
      }
      if (ints[id] == nullptr) ints[id] = make(id);
      *item++ = Py_NewRef(ints[id]);
    }
  }

  static PyObject* make(bpe::TokenId id) {
    PyObject* const number = PyLong_FromUnsignedLong(id);
    if (number == nullptr) throw py::error_already_set();
    return number;
  }

  std::vector<PyObject*> ints_;  // null until it is asked for
};

/// How many characters, or bytes, the texts have together.
inline std::size_t total_size(std::span<const Text> texts) {
  std::size_t total = 0;
  for (const Text& text : texts) total += text.size();
  return total;
}

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
using MallocBuffer = std::unique_ptr<T, FreeMemory>;

/// A buffer for `count` numbers that are still to be written, in large pages if there are many.
template <typename T>
MallocBuffer<T> allocate_buffer(std::size_t count) {
  MallocBuffer<T> buffer(
      static_cast<T*>(std::malloc((count + 1) * sizeof(T))));  // never none, for which malloc may give null
  if (buffer == nullptr) throw std::bad_alloc();
  bpe::advise_huge_pages(buffer.get(), count * sizeof(T));
  return buffer;
}

/// Ids that are written one after the other, up to a number.
class IdBuffer {
 public:
  explicit IdBuffer(std::size_t most) : data_(allocate_buffer<bpe::TokenId>(most)), most_(most) {}

  [[nodiscard]] bool full() const { return size_ == most_; }
  void append(bpe::TokenId id) { data_.get()[size_++] = id; }
  [[nodiscard]] std::span<const bpe::TokenId> ids() const { return {data_.get(), size_}; }

 private:
  MallocBuffer<bpe::TokenId> data_;
  std::size_t most_;
  std::size_t size_ = 0;
};

/// Collects tokens in memory that becomes a NumPy array. Memory is asked for once, for the most that there
/// may be, and given back afterwards: what is never written to takes no memory.
template <typename Id>
class ArraySink final : public bpe::TokenSink {
 public:
  explicit ArraySink(std::size_t most) : data_(allocate_buffer<Id>(most)) {}

  void write(std::span<const bpe::TokenId> tokens) override {
    Id* const out = data_.get() + size_;
    for (std::size_t i = 0; i < tokens.size(); ++i) out[i] = static_cast<Id>(tokens[i]);
    size_ += tokens.size();
  }

  [[nodiscard]] std::span<const Id> tokens() const { return {data_.get(), size_}; }

  /// The same as an array that owns the memory. To be called once, with the GIL held.
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
  MallocBuffer<Id> data_;
  std::size_t size_ = 0;
};

}  // namespace conversions
