// PieceCounter and learn_merges of gpt2x._bpe: learning a vocabulary. gpt2x/_bpe.pyi says what each name
// promises.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "conversions.hpp"
#include "gpt2x/bpe/internal/encoder.hpp"
#include "gpt2x/bpe/internal/parallel.hpp"
#include "gpt2x/bpe/internal/quoted.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/internal/vocabulary_tables.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/trainer.hpp"

namespace py = pybind11;
namespace bpe = gpt2x::bpe;

using bpe::TokenId;
using conversions::to_bytes;
using conversions::to_num_threads;
using conversions::view;
using conversions::without_gil;

namespace {

// A counter that threads may share: one of them at a time. The mutex is only ever waited for without the GIL,
// so the two locks cannot hold each other up.
class SharedCounter {
 public:
  explicit SharedCounter(const std::string& pattern_name)
      : pattern_(bpe::pattern_from_name(pattern_name)), counter_(pattern_) {}

  [[nodiscard]] bpe::Pattern pattern() const { return pattern_; }

  template <typename Work>
  auto use(const Work& work) {
    return without_gil([&] {
      const std::lock_guard lock(mutex_);
      return work(counter_);
    });
  }

 private:
  std::mutex mutex_;
  bpe::Pattern pattern_;
  bpe::PieceCounter counter_;
};

// What any object with the buffer protocol holds (bytes, an mmap, a memoryview of one), without a copy. The
// object keeps it in place while this lives; that nobody writes to it is up to the caller.
class Buffer {
 public:
  explicit Buffer(const py::object& object) {
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { PyBuffer_Release(&buffer_); }

  [[nodiscard]] std::string_view view() const {
    return {static_cast<const char*>(buffer_.buf), static_cast<std::size_t>(buffer_.len)};
  }

 private:
  Py_buffer buffer_{};
};

void add_text(SharedCounter& counter, const py::object& text, int num_threads) {
  const Buffer buffer(text);
  const unsigned threads = to_num_threads(num_threads);
  counter.use([&](bpe::PieceCounter& pieces) { pieces.add(buffer.view(), threads); });
}

// The length of a text's first line, with its line end.
std::size_t line_size(std::string_view text) {
  const std::size_t newline = text.find('\n');
  return newline == std::string_view::npos ? text.size() : newline + 1;
}

void count_lines(bpe::PieceCounter& pieces, std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = line_size(text);
    pieces.add(text.substr(0, size));
    text.remove_prefix(size);
  }
}

// Counts every line as a text of its own. Each thread has a counter for its share of the text; a share ends
// where a line does.
void add_lines(SharedCounter& counter, const py::object& text, int num_threads) {
  constexpr std::size_t kMinBytesPerThread = std::size_t{1} << 20;  // less is not worth a thread
  const Buffer buffer(text);
  const unsigned threads = to_num_threads(num_threads);
  counter.use([&](bpe::PieceCounter& pieces) {
    std::string_view rest = buffer.view();
    const std::size_t share = rest.size() / bpe::num_threads_for(threads);
    std::vector<std::string_view> shares;
    while (!rest.empty()) {
      const std::size_t from = std::min(std::max(share, kMinBytesPerThread), rest.size());
      shares.push_back(rest.substr(0, from + line_size(rest.substr(from))));
      rest.remove_prefix(shares.back().size());
    }
    if (shares.size() == 1) return count_lines(pieces, shares.front());
    std::vector<bpe::PieceCounter> counters(shares.size(), bpe::PieceCounter(counter.pattern()));
    bpe::parallel_for(shares.size(), threads, [&](std::size_t i) { count_lines(counters[i], shares[i]); });
    for (const bpe::PieceCounter& counted : counters) {
      counted.for_each([&](std::string_view piece, std::uint64_t count) { pieces.add_piece(piece, count); });
    }
  });
}

std::size_t find_safe_cut(const SharedCounter& counter, const py::object& text, std::size_t start) {
  const Buffer buffer(text);
  return without_gil([&] {
    return bpe::find_safe_cut(counter.pattern(), buffer.view(), std::min(start, buffer.view().size()));
  });
}

std::size_t valid_utf8_prefix(const py::object& text) {
  const Buffer buffer(text);
  return without_gil([&] { return bpe::valid_utf8_prefix(buffer.view()); });
}

// How many tokens all counted texts have in a vocabulary: each piece is encoded once.
std::uint64_t count_tokens(SharedCounter& counter, const std::vector<py::bytes>& tokens) {
  std::vector<bpe::Vocabulary::Entry> entries;
  entries.reserve(tokens.size());
  for (const py::bytes& token : tokens) {
    entries.push_back({view(token), static_cast<TokenId>(entries.size())});
  }
  return counter.use([&](const bpe::PieceCounter& pieces) {
    const bpe::VocabularyTables vocabulary(entries);
    std::vector<TokenId> ids;
    std::uint64_t num_tokens = 0;
    pieces.for_each([&](std::string_view piece, std::uint64_t count) {
      ids.resize(std::max(ids.size(), piece.size()));
      const TokenId* const end = bpe::encode_piece(vocabulary, piece, ids.data());
      num_tokens += count * static_cast<std::uint64_t>(end - ids.data());
    });
    return num_tokens;
  });
}

py::list items(SharedCounter& counter) {
  // Copies, since another thread may add pieces while the list is made.
  const auto counts = counter.use([](const bpe::PieceCounter& pieces) {
    const auto all = pieces.items();
    return std::vector<std::pair<std::string, std::uint64_t>>(all.begin(), all.end());
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
  Reporter(std::size_t every, const std::optional<py::function>& on_merge)
      : every_(every), on_merge_(on_merge) {}

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

bpe::ByteOrder byte_order_from_name(const std::string& name) {
  if (name == "gpt2") return bpe::ByteOrder::kGpt2;
  if (name == "raw") return bpe::ByteOrder::kRaw;
  throw py::value_error("byte order '" + name + "' is neither 'gpt2' nor 'raw'");
}

py::list learn_merges(SharedCounter& counter, std::size_t num_merges, std::uint64_t min_frequency,
                      const std::optional<py::function>& on_merge, const std::string& byte_order,
                      const std::vector<std::pair<TokenId, TokenId>>& continue_from, bool consume,
                      std::size_t report_every) {
  std::vector<bpe::TokenPair> given;
  given.reserve(continue_from.size());
  for (const auto& [left, right] : continue_from) given.push_back({left, right});
  const bpe::LearnOptions options{.max_merges = num_merges,
                                  .min_frequency = min_frequency,
                                  .byte_order = byte_order_from_name(byte_order),
                                  .continue_from = given};
  auto learner = counter.use([&](bpe::PieceCounter& pieces) {
    return consume ? bpe::MergeLearner(std::move(pieces), options) : bpe::MergeLearner(pieces, options);
  });
  if (report_every == 0) report_every = num_merges < 2048 ? 1 : 256;
  Reporter reporter(report_every, on_merge);
  std::vector<bpe::Merge> merges;
  without_gil([&] {
    while (const std::optional<bpe::Merge> merge = learner.next()) {
      merges.push_back(*merge);
      if (!reporter.go_on(merges.size() - 1, *merge)) break;
    }
  });
  py::list list;
  for (const bpe::Merge& merge : merges) list.append(py::make_tuple(merge.left, merge.right, merge.count));
  return list;
}

}  // namespace

void bind_training(py::module_& module) {
  py::class_<SharedCounter>(module, "PieceCounter")
      .def(py::init<const std::string&>(), py::arg("pattern"))
      .def("add", &add_text, py::arg("text"), py::arg("num_threads") = 1)
      .def("add_lines", &add_lines, py::arg("text"), py::arg("num_threads") = 1)
      .def("find_safe_cut", &find_safe_cut, py::arg("text"), py::arg("start"))
      .def_property_readonly(
          "num_bytes",
          [](SharedCounter& self) { return self.use([](const auto& pieces) { return pieces.num_bytes(); }); })
      .def_property_readonly("num_pieces",
                             [](SharedCounter& self) {
                               return self.use([](const auto& pieces) { return pieces.num_pieces(); });
                             })
      .def_property_readonly("num_unique",
                             [](SharedCounter& self) {
                               return self.use([](const auto& pieces) { return pieces.num_unique(); });
                             })
      .def("count_tokens", &count_tokens, py::arg("tokens"))
      .def("items", &items)
      .def("add_counts", &add_counts, py::arg("items"));

  module.def("learn_merges", &learn_merges, py::arg("counter"), py::arg("num_merges"),
             py::arg("min_frequency"), py::arg("on_merge"), py::kw_only(), py::arg("byte_order") = "gpt2",
             py::arg("continue_from") = py::tuple(), py::arg("consume") = false, py::arg("report_every") = 0);
  module.def("valid_utf8_prefix", &valid_utf8_prefix, py::arg("text"));
}
