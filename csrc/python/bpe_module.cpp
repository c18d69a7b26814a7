// gpt2x._bpe: the tokenizer core for Python. Only conversions live here; gpt2x/_bpe.pyi says what each name
// promises.
//
// Every long call releases the GIL. While it is released no Python object is touched except the contents of
// `bytes`, which cannot change and are kept alive by the caller's reference.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "gpt2x/bpe/encoder.hpp"
#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/piece_counter.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "gpt2x/bpe/trainer.hpp"
#include "gpt2x/bpe/unicode.hpp"

namespace py = pybind11;
namespace bpe = gpt2x::bpe;

using bpe::TokenId;

namespace {

// ---------------------------------------------------------------------------------------------------------------------
// Conversions

std::string_view view(const py::bytes& bytes) {
  return static_cast<std::string_view>(bytes);
}

py::bytes to_bytes(std::string_view text) {
  return {text.data(), text.size()};
}

py::list to_list(std::span<const TokenId> ids) {
  py::list list(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    PyObject* id = PyLong_FromUnsignedLong(ids[i]);
    if (id == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), id);
  }
  return list;
}

// The array takes the vector over; nothing is copied.
py::array_t<TokenId> to_array(std::vector<TokenId>&& ids) {
  auto owner = std::make_unique<std::vector<TokenId>>(std::move(ids));
  const auto size = static_cast<py::ssize_t>(owner->size());
  const TokenId* data = owner->data();
  py::capsule capsule(owner.get(), [](void* vector) { delete static_cast<std::vector<TokenId>*>(vector); });
  owner.release();
  return py::array_t<TokenId>(size, data, capsule);
}

// Python's own words for a number, since it may be negative or larger than any integer type here.
[[noreturn]] void throw_unknown_id(const py::handle& id) {
  throw bpe::UnknownTokenError("no token has id " + py::str(id).cast<std::string>());
}

TokenId to_id(const py::handle& item) {
  const auto number =
      py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));  // TypeError for 1.5, "a", ...
  if (!number) throw py::error_already_set();
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0 || value < 0 || value >= static_cast<long long>(bpe::kNoToken)) throw_unknown_id(item);
  return static_cast<TokenId>(value);
}

std::vector<TokenId> to_ids(const py::object& items) {
  std::vector<TokenId> ids;
  for (const py::handle item : items) ids.push_back(to_id(item));
  return ids;
}

std::vector<std::string_view> to_views(const std::vector<py::bytes>& texts) {
  std::vector<std::string_view> views;
  views.reserve(texts.size());
  for (const py::bytes& text : texts) views.push_back(view(text));
  return views;
}

unsigned to_num_threads(int num_threads) {
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

// ---------------------------------------------------------------------------------------------------------------------
// BytePairEncoder

bpe::Tokenizer make_tokenizer(const std::vector<py::bytes>& tokens, const std::vector<std::int64_t>& ids,
                              const std::string& pattern_name) {
  if (tokens.size() != ids.size()) {
    throw py::value_error("there are " + std::to_string(tokens.size()) + " tokens but " +
                          std::to_string(ids.size()) + " ids");
  }
  const bpe::Pattern pattern = bpe::pattern_from_name(pattern_name);
  std::vector<bpe::Vocabulary::Entry> entries;
  entries.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= bpe::Vocabulary::kMaxSize) {
      throw py::value_error("id " + std::to_string(ids[i]) + " of token " + bpe::quoted(view(tokens[i])) +
                            " is not between 0 and " + std::to_string(bpe::Vocabulary::kMaxSize - 1));
    }
    entries.push_back({view(tokens[i]), static_cast<TokenId>(ids[i])});
  }
  return without_gil([&] { return bpe::Tokenizer(bpe::Vocabulary(entries), pattern); });
}

std::vector<TokenId> encode(const bpe::Tokenizer& tokenizer, const py::bytes& text) {
  const std::string_view bytes = view(text);
  return without_gil([&] { return tokenizer.encode(bytes); });
}

std::vector<py::array_t<TokenId>> encode_batch(const bpe::Tokenizer& tokenizer,
                                               const std::vector<py::bytes>& texts, int num_threads) {
  const std::vector<std::string_view> views = to_views(texts);
  const unsigned threads = to_num_threads(num_threads);
  auto batch = without_gil([&] { return tokenizer.encode_batch(views, threads); });
  std::vector<py::array_t<TokenId>> arrays;
  arrays.reserve(batch.size());
  for (std::vector<TokenId>& ids : batch) arrays.push_back(to_array(std::move(ids)));
  return arrays;
}

py::list split(const bpe::Tokenizer& tokenizer, const py::bytes& text) {
  py::list pieces;
  bpe::for_each_piece(tokenizer.pattern(), view(text),
                      [&](std::string_view piece) { pieces.append(to_bytes(piece)); });
  return pieces;
}

std::vector<TokenId> encode_piece(const bpe::Tokenizer& tokenizer, const py::bytes& piece) {
  const std::string_view bytes = view(piece);
  std::vector<TokenId> ids;
  without_gil([&] { bpe::encode_piece(tokenizer.vocabulary(), bytes, ids); });
  return ids;
}

py::bytes decode_bytes(const bpe::Tokenizer& tokenizer, std::span<const TokenId> ids) {
  return to_bytes(without_gil([&] { return tokenizer.decode(ids); }));
}

using IdArray = py::array_t<TokenId, py::array::c_style>;

// An array of uint32 is read where it lies; of anything else each number is looked at, so that none can wrap
// around. Lists come first, since to ask whether something is an array imports NumPy.
py::bytes decode_any(const bpe::Tokenizer& tokenizer, const py::object& ids) {
  if (!py::isinstance<py::list>(ids) && IdArray::check_(ids)) {
    const auto array = py::reinterpret_borrow<IdArray>(ids);
    return decode_bytes(tokenizer, {array.data(), static_cast<std::size_t>(array.size())});
  }
  return decode_bytes(tokenizer, to_ids(ids));
}

py::bytes token_bytes(const bpe::Tokenizer& tokenizer, const py::int_& id) {
  const std::string_view bytes = tokenizer.vocabulary().bytes_of(to_id(id));
  if (bytes.empty()) throw_unknown_id(id);
  return to_bytes(bytes);
}

TokenId encode_single_token(const bpe::Tokenizer& tokenizer, const py::bytes& token) {
  const TokenId id = tokenizer.vocabulary().find(view(token));
  if (id == bpe::kNoToken) throw bpe::UnknownTokenError("no token has the bytes " + bpe::quoted(view(token)));
  return id;
}

// ---------------------------------------------------------------------------------------------------------------------
// PieceCounter and learn_merges

// A counter that threads may share: one of them at a time. The mutex is only ever waited for without the GIL,
// so the two locks cannot hold each other up.
class SharedCounter {
 public:
  explicit SharedCounter(const std::string& pattern_name) : counter_(bpe::pattern_from_name(pattern_name)) {}

  template <typename Work>
  auto use(const Work& work) {
    return without_gil([&] {
      const std::lock_guard lock(mutex_);
      return work(counter_);
    });
  }

 private:
  std::mutex mutex_;
  bpe::PieceCounter counter_;
};

void add_text(SharedCounter& counter, const py::bytes& text, int num_threads) {
  const std::string_view bytes = view(text);
  const unsigned threads = to_num_threads(num_threads);
  counter.use([&](bpe::PieceCounter& pieces) { pieces.add(bytes, threads); });
}

py::list items(SharedCounter& counter) {
  // Copies, since another thread may add pieces while the list is made.
  const auto counts = counter.use([](const bpe::PieceCounter& pieces) {
    std::vector<std::pair<std::string, std::uint64_t>> copies;
    copies.reserve(pieces.num_unique());
    for (std::size_t i = 0; i < pieces.num_unique(); ++i)
      copies.emplace_back(pieces.piece(i), pieces.count(i));
    return copies;
  });
  py::list list;
  for (const auto& [piece, count] : counts) list.append(py::make_tuple(to_bytes(piece), count));
  return list;
}

void add_counts(SharedCounter& counter, const std::vector<std::pair<py::bytes, std::int64_t>>& items) {
  std::vector<std::pair<std::string_view, std::uint64_t>> counts;
  counts.reserve(items.size());
  for (const auto& [piece, count] : items) {
    if (view(piece).empty()) throw py::value_error("a piece is empty");
    if (count < 0) {
      throw py::value_error("the count of piece " + bpe::quoted(view(piece)) + " is " +
                            std::to_string(count));
    }
    counts.emplace_back(view(piece), static_cast<std::uint64_t>(count));
  }
  counter.use([&](bpe::PieceCounter& pieces) {
    for (const auto& [piece, count] : counts) pieces.add_piece(piece, count);
  });
}

// Tells when Python should be asked again, for signals and progress: often enough to feel immediate, seldom
// enough that taking the GIL does not show.
class Reporter {
 public:
  Reporter(std::size_t num_merges, const std::optional<py::function>& on_merge)
      : every_(num_merges < 2048 ? 1 : 256), on_merge_(on_merge) {}

  /// To be called after each merge, without the GIL; false means stop.
  bool go_on(std::size_t index, const bpe::Merge& merge) {
    const bool report = on_merge_ && index % every_ == 0;
    const auto now = std::chrono::steady_clock::now();
    if (!report && now - last_asked_ < std::chrono::milliseconds(50)) return true;
    last_asked_ = now;
    const py::gil_scoped_acquire acquired;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!report) return true;
    // Only False stops, so that a callback without a return statement does not.
    return !(*on_merge_)(index, merge.left, merge.right, merge.count).is(py::bool_(false));
  }

 private:
  std::size_t every_;
  const std::optional<py::function>& on_merge_;
  std::chrono::steady_clock::time_point last_asked_ = std::chrono::steady_clock::now();
};

std::vector<std::tuple<TokenId, TokenId, std::uint64_t>> learn_merges(
    SharedCounter& counter, std::size_t num_merges, std::uint64_t min_frequency,
    const std::optional<py::function>& on_merge) {
  auto learner = counter.use([](const bpe::PieceCounter& pieces) { return bpe::MergeLearner(pieces); });
  Reporter reporter(num_merges, on_merge);
  std::vector<std::tuple<TokenId, TokenId, std::uint64_t>> merges;
  without_gil([&] {
    while (merges.size() < num_merges) {
      const std::optional<bpe::Merge> merge = learner.next(min_frequency);
      if (!merge) break;
      merges.emplace_back(merge->left, merge->right, merge->count);
      if (!reporter.go_on(merges.size() - 1, *merge)) break;
    }
  });
  return merges;
}

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

  using bpe::Tokenizer;
  py::class_<Tokenizer>(module, "BytePairEncoder")
      .def(py::init(&make_tokenizer), py::arg("tokens"), py::arg("ids"), py::arg("pattern"))
      .def_property_readonly("n_vocab", [](const Tokenizer& self) { return self.vocabulary().size(); })
      .def(
          "encode_ordinary",
          [](const Tokenizer& self, const py::bytes& text) { return to_list(encode(self, text)); },
          py::arg("text"))
      .def(
          "encode_to_numpy",
          [](const Tokenizer& self, const py::bytes& text) { return to_array(encode(self, text)); },
          py::arg("text"))
      .def("encode_batch", &encode_batch, py::arg("texts"), py::arg("num_threads"))
      .def(
          "count",
          [](const Tokenizer& self, const py::bytes& text) {
            const std::string_view bytes = view(text);
            return without_gil([&] { return self.count(bytes); });
          },
          py::arg("text"))
      .def(
          "encode_piece",
          [](const Tokenizer& self, const py::bytes& piece) { return to_list(encode_piece(self, piece)); },
          py::arg("piece"))
      .def("split", &split, py::arg("text"))
      .def("decode_bytes", &decode_any, py::arg("ids"))
      .def("token_bytes", &token_bytes, py::arg("id"))
      .def("encode_single_token", &encode_single_token, py::arg("token"));

  py::class_<SharedCounter>(module, "PieceCounter")
      .def(py::init<const std::string&>(), py::arg("pattern"))
      .def("add", &add_text, py::arg("text"), py::arg("num_threads") = 1)
      .def_property_readonly("num_pieces",
                             [](SharedCounter& self) {
                               return self.use([](const auto& pieces) { return pieces.num_pieces(); });
                             })
      .def_property_readonly("num_unique",
                             [](SharedCounter& self) {
                               return self.use([](const auto& pieces) { return pieces.num_unique(); });
                             })
      .def("items", &items)
      .def("add_counts", &add_counts, py::arg("items"));

  module.def("learn_merges", &learn_merges, py::arg("counter"), py::arg("num_merges"),
             py::arg("min_frequency"), py::arg("on_merge"));
}
