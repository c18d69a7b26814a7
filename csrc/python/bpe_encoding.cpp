// gpt2x._bpe.BytePairEncoder: text to tokens and back.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "bpe_texts.hpp"
#include "conversions.hpp"
#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/decoder.hpp"
#include "gpt2x/bpe/internal/encoder.hpp"
#include "gpt2x/bpe/internal/parallel.hpp"
#include "gpt2x/bpe/internal/quoted.hpp"
#include "gpt2x/bpe/internal/shares.hpp"
#include "gpt2x/bpe/internal/special_search.hpp"
#include "gpt2x/bpe/internal/splitter.hpp"
#include "gpt2x/bpe/pretokenizer.hpp"
#include "gpt2x/bpe/rank_file.hpp"
#include "gpt2x/bpe/tokenizer.hpp"

namespace py = pybind11;
namespace bpe = gpt2x::bpe;

using bpe::TokenId;
using conversions::ArraySink;
using conversions::check_signals;
using conversions::interruptible;
using conversions::kLongWork;
using conversions::SharedInts;
using conversions::Text;
using conversions::TextView;
using conversions::to_bytes;
using conversions::to_num_threads;
using conversions::to_texts;
using conversions::total_size;
using conversions::view;
using conversions::without_gil;

namespace {

using Entries = std::vector<bpe::Vocabulary::Entry>;

// Python's own words for a number, since it may be negative or larger than any integer type here.
[[noreturn]] void throw_unknown_id(const py::handle& id) {
  throw bpe::UnknownTokenError("no token has id " + py::str(id).cast<std::string>());
}

// What an integer of at most 30 bits holds, without a call; -1 for anything else.
long long small_int(PyObject* object) {
  if (!PyLong_CheckExact(object)) return -1;
#if PY_VERSION_HEX >= 0x030C0000
  const auto* const number = reinterpret_cast<const PyLongObject*>(object);
  return PyUnstable_Long_IsCompact(number) ? PyUnstable_Long_CompactValue(number) : -1;
#else
  const Py_ssize_t num_digits = Py_SIZE(object);
  if (num_digits == 0) return 0;
  return num_digits == 1 ? static_cast<long long>(reinterpret_cast<const PyLongObject*>(object)->ob_digit[0])
                         : -1;
#endif
}

TokenId to_id(const py::handle& item) {
  if (const long long value = small_int(item.ptr()); value >= 0) return static_cast<TokenId>(value);
  if (PyBool_Check(item.ptr())) throw py::type_error("an id is a bool; give whole numbers");
  const auto number =
      py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));  // TypeError for 1.5, "a", ...
  if (!number) throw py::error_already_set();
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0 || value < 0 || value >= static_cast<long long>(bpe::kNoToken)) throw_unknown_id(item);
  return static_cast<TokenId>(value);
}

bpe::Vocabulary::Entry to_entry(const py::bytes& bytes, std::int64_t id) {
  if (id < 0 || id >= bpe::Vocabulary::kMaxSize) {
    throw py::value_error("id " + std::to_string(id) + " of token " + bpe::quoted(view(bytes)) +
                          " is not between 0 and " + std::to_string(bpe::Vocabulary::kMaxSize - 1));
  }
  return {view(bytes), static_cast<TokenId>(id)};
}

Entries to_entries(const std::vector<py::bytes>& tokens, const std::vector<std::int64_t>& ids) {
  if (tokens.size() != ids.size()) {
    throw py::value_error("there are " + std::to_string(tokens.size()) + " tokens but " +
                          std::to_string(ids.size()) + " ids");
  }
  Entries entries;
  entries.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) entries.push_back(to_entry(tokens[i], ids[i]));
  return entries;
}

Entries to_entries(const py::dict& special_tokens) {
  Entries entries;
  for (const auto& [id, bytes] : special_tokens) {
    entries.push_back(to_entry(bytes.cast<py::bytes>(), id.cast<std::int64_t>()));
  }
  return entries;
}

conversions::IdBuffer list_to_ids(const py::object& list) {
  conversions::IdBuffer numbers(static_cast<std::size_t>(PyList_GET_SIZE(list.ptr())));
  // Both sizes are asked for again each time: an item's __index__ could change the list.
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list.ptr()) && !numbers.full(); ++i) {
    if ((i + 1) % kLongWork == 0) check_signals();
    numbers.append(to_id(PyList_GET_ITEM(list.ptr(), i)));
  }
  return numbers;
}

// Calls `work` with the ids as a span of their own type. A list's integers are looked at one by one, and so
// is everything that is no array of 16-, 32- or 64-bit integers, so that no number can wrap around. Lists
// come first, since to ask whether something is an array imports NumPy.
template <typename Work>
auto with_ids(const py::object& ids, const Work& work) {
  if (!PyList_Check(ids.ptr()) && !PyTuple_Check(ids.ptr()) && py::isinstance<py::array>(ids)) {
    const auto array = py::array::ensure(ids, py::array::c_style);
    if (array.ndim() != 1)
      throw py::value_error("an array of ids has " + std::to_string(array.ndim()) + " axes; give one");
    const auto as = [&]<typename Id>(Id) {
      return work(std::span(static_cast<const Id*>(array.data()), static_cast<std::size_t>(array.size())));
    };
    const char kind = array.dtype().kind();
    const py::ssize_t bits = 8 * array.itemsize();
    if (array.dtype().byteorder() != '>') {
      if (kind == 'u' && bits == 16) return as(std::uint16_t{});
      if (kind == 'u' && bits == 32) return as(std::uint32_t{});
      if (kind == 'u' && bits == 64) return as(std::uint64_t{});
      if (kind == 'i' && bits == 16) return as(std::int16_t{});
      if (kind == 'i' && bits == 32) return as(std::int32_t{});
      if (kind == 'i' && bits == 64) return as(std::int64_t{});
    }
  }
  if (PyList_CheckExact(ids.ptr())) {
    const conversions::IdBuffer numbers = list_to_ids(ids);
    return work(numbers.ids());
  }
  std::vector<TokenId> numbers;
  for (const py::handle item : ids) {
    if ((numbers.size() + 1) % kLongWork == 0) check_signals();
    numbers.push_back(to_id(item));
  }
  return work(std::span<const TokenId>(numbers));
}

// Calls `work` with a part of the ids after the other, and looks for signals in between.
template <typename Id, typename Work>
void for_each_part(std::span<const Id> ids, const Work& work) {
  interruptible(ids.size(), [&](bpe::StopFlag& stop) {
    for (std::size_t start = 0; start < ids.size(); start += kLongWork) {
      stop.check();
      work(ids.subspan(start, std::min(kLongWork, ids.size() - start)));
    }
  });
}

// Special tokens, by themselves: to be looked for in a text, or in what is to be encoded.
class SpecialTokens {
 public:
  SpecialTokens(const std::vector<py::bytes>& tokens, const std::vector<std::int64_t>& ids)
      : SpecialTokens(to_entries(tokens, ids)) {}

  [[nodiscard]] const bpe::SpecialTokens& get() const { return tokens_; }
  [[nodiscard]] std::size_t size() const { return tokens_.size(); }

  [[nodiscard]] std::optional<std::tuple<std::size_t, std::size_t, std::size_t>> find(
      const py::object& item, std::size_t start) const {
    const Text text(item);
    std::optional<std::tuple<std::size_t, std::size_t, std::size_t>> found;
    interruptible(text.size(), [&](bpe::StopFlag& stop) {
      text.visit([&]<typename Char>(std::span<const Char> characters) {
        bpe::SpecialSearch<Char> search(tokens_, characters, std::min(start, characters.size()), stop);
        if (const auto match = search.next()) found.emplace(match->start, match->end, match->index);
      });
    });
    return found;
  }

  [[nodiscard]] py::array_t<std::int64_t> find_all(const py::object& item) const {
    const Text text(item);
    std::vector<std::int64_t> places;
    interruptible(text.size(), [&](bpe::StopFlag& stop) {
      text.visit([&]<typename Char>(std::span<const Char> characters) {
        bpe::SpecialSearch<Char> search(tokens_, characters, 0, stop);
        while (const auto match = search.next()) {
          places.push_back(static_cast<std::int64_t>(match->start));
          places.push_back(static_cast<std::int64_t>(match->end));
          places.push_back(std::int64_t{match->id});
        }
      });
    });
    return py::array_t<std::int64_t>({static_cast<py::ssize_t>(places.size() / 3), py::ssize_t{3}},
                                     places.data());
  }

 private:
  explicit SpecialTokens(const Entries& entries)
      : tokens_(without_gil([&] { return bpe::SpecialTokens(entries); })) {}

  bpe::SpecialTokens tokens_;
};

// What a call names as `specials`. A pointer as a parameter would do, but pybind11 tries twice before it
// takes None for one, and that costs as much as encoding a line.
class Specials {
 public:
  Specials(const py::object& specials) {
    if (specials.is_none()) return;
    if (!py::isinstance<SpecialTokens>(specials)) {
      throw py::type_error("specials is " + std::string(Py_TYPE(specials.ptr())->tp_name) +
                           "; give SpecialTokens or None");
    }
    tokens_ = &specials.cast<const SpecialTokens&>().get();
  }

  [[nodiscard]] const bpe::SpecialTokens* get() const { return tokens_; }

 private:
  const bpe::SpecialTokens* tokens_ = nullptr;
};

class BytePairEncoder {
 public:
  BytePairEncoder(const std::vector<py::bytes>& tokens, const std::vector<std::int64_t>& ids,
                  const std::string& pattern_name, const py::dict& special_tokens)
      : BytePairEncoder(make_tokenizer(tokens, ids, pattern_name, special_tokens)) {}

  explicit BytePairEncoder(bpe::Tokenizer tokenizer)
      : tokenizer_(std::move(tokenizer)), ints_(tokenizer_.vocabulary().size()) {}

  // A vocabulary straight from its file, as fast as it can be read: `parse` is parse_rank_file or
  // parse_merges_file.
  template <std::vector<bpe::RankedToken> (*parse)(std::string_view)>
  static std::unique_ptr<BytePairEncoder> from_file(const py::bytes& contents,
                                                    const std::string& pattern_name,
                                                    const py::dict& special_tokens) {
    const bpe::Pattern pattern = bpe::pattern_from_name(pattern_name);
    const Entries specials = to_entries(special_tokens);
    const std::string_view bytes = view(contents);
    return std::make_unique<BytePairEncoder>(without_gil(
        [&] { return bpe::Tokenizer(bpe::vocabulary_from_ranks(parse(bytes)), pattern, specials); }));
  }

  [[nodiscard]] TokenId n_vocab() const { return tokenizer_.vocabulary().size(); }

  py::list encode_ordinary(const py::object& text) { return encode(text, py::none()); }

  py::list encode(const py::object& item, const py::object& specials) {
    const Text text(item);
    ArraySink<TokenId> sink(text.most_tokens());
    encode_to(text, specials, sink);
    return ints_.list(sink.tokens());
  }

  py::array encode_to_numpy(const py::object& text, const std::string& dtype, const py::object& out,
                            const py::object& specials) {
    if (!out.is_none()) return encode_into(Text(text), specials, out);
    return is_uint16(dtype, specials) ? encode_to_array<std::uint16_t>(Text(text), specials)
                                      : encode_to_array<std::uint32_t>(Text(text), specials);
  }

  py::list encode_batch(const py::iterable& items, int num_threads, const std::string& dtype,
                        const py::object& specials) {
    const std::vector<Text> texts = to_texts(items);
    return is_uint16(dtype, specials) ? encode_to_arrays<std::uint16_t>(texts, num_threads, specials)
                                      : encode_to_arrays<std::uint32_t>(texts, num_threads, specials);
  }

  py::list encode_batch_lists(const py::iterable& items, int num_threads, const py::object& specials) {
    py::list lists;
    for (const auto& ids : encode_all<TokenId>(to_texts(items), num_threads, specials))
      lists.append(ints_.list(ids));
    return lists;
  }

  [[nodiscard]] std::size_t count(const py::object& item, const py::object& specials) const {
    const Text text(item);
    bpe::CountingSink sink;
    encode_to(text, specials, sink);
    return sink.count;
  }

  [[nodiscard]] std::vector<std::size_t> count_batch(const py::iterable& items, int num_threads,
                                                     const py::object& specials) const {
    const std::vector<Text> texts = to_texts(items);
    std::vector<std::size_t> counts(texts.size());
    work_on_parts<std::size_t>(
        texts, num_threads, specials,
        [&](const TextView& part, const bpe::EncodeOptions& options) {
          bpe::CountingSink sink;
          part.encode(tokenizer_, sink, options);
          return sink.count;
        },
        [&](std::size_t i, std::span<std::size_t> parts) {
          counts[i] = std::reduce(parts.begin(), parts.end());
        });
    return counts;
  }

  py::list encode_piece(const py::object& item) {
    const std::string piece = Text(item).utf8();
    std::vector<TokenId> ids(piece.size());
    interruptible(piece.size(), [&](bpe::StopFlag& stop) {
      if (ids.empty()) return;
      const TokenId* const end = bpe::encode_piece(tokenizer_.vocabulary().tables(), piece, ids.data(), stop);
      ids.resize(static_cast<std::size_t>(end - ids.data()));
    });
    return ints_.list(ids);
  }

  [[nodiscard]] py::list split(const py::object& item) const {
    const std::string text = Text(item).utf8();
    py::list pieces;
    bpe::for_each_piece(tokenizer_.pattern(), text, [&](std::string_view piece) {
      if ((pieces.size() + 1) % kLongWork == 0) check_signals();
      pieces.append(to_bytes(piece));
    });
    return pieces;
  }

  [[nodiscard]] std::size_t find_safe_cut(const py::bytes& text, std::size_t start) const {
    return bpe::find_safe_cut(tokenizer_.pattern(), view(text), std::min(start, view(text).size()));
  }

  [[nodiscard]] py::bytes decode_bytes(const py::object& ids) const {
    return with_ids(ids, [&]<typename Id>(std::span<const Id> numbers) {
      const bpe::Decoder& decoder = tokenizer_.decoder();
      std::size_t size = 0;
      for_each_part(numbers, [&](std::span<const Id> part) { size += decoder.num_bytes(part); });
      auto bytes =
          py::reinterpret_steal<py::bytes>(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
      if (!bytes) throw py::error_already_set();
      char* out = PyBytes_AS_STRING(bytes.ptr());
      char* const end = out + size;
      bpe::advise_huge_pages(out, size);
      for_each_part(numbers, [&](std::span<const Id> part) {
        out = decoder.write(part, out, static_cast<std::size_t>(end - out));
      });
      if (out != end)
        throw py::value_error("the ids have changed while they were decoded; decode a copy of them");
      return bytes;
    });
  }

  [[nodiscard]] py::array_t<std::uint32_t> token_lengths(const py::object& ids) const {
    return with_ids(ids, [&]<typename Id>(std::span<const Id> numbers) {
      py::array_t<std::uint32_t> lengths(static_cast<py::ssize_t>(numbers.size()));
      std::uint32_t* out = lengths.mutable_data();
      for_each_part(numbers, [&](std::span<const Id> part) {
        tokenizer_.decoder().lengths(part, out);
        out += part.size();
      });
      return lengths;
    });
  }

  [[nodiscard]] py::bytes token_bytes(const py::object& id) const {
    const std::string_view bytes = tokenizer_.decoder().bytes_of(to_id(id));
    if (bytes.empty()) throw_unknown_id(id);
    return to_bytes(bytes);
  }

  [[nodiscard]] TokenId encode_single_token(const py::bytes& token) const {
    const TokenId id = tokenizer_.vocabulary().find(view(token));
    if (id == bpe::kNoToken) {
      throw bpe::UnknownTokenError("no token has the bytes " + bpe::quoted(view(token)));
    }
    return id;
  }

 private:
  static bpe::Tokenizer make_tokenizer(const std::vector<py::bytes>& tokens,
                                       const std::vector<std::int64_t>& ids, const std::string& pattern_name,
                                       const py::dict& special_tokens) {
    const Entries entries = to_entries(tokens, ids);
    const bpe::Pattern pattern = bpe::pattern_from_name(pattern_name);
    const Entries specials = to_entries(special_tokens);
    return without_gil([&] { return bpe::Tokenizer(bpe::Vocabulary(entries), pattern, specials); });
  }

  void encode_to(const Text& text, const Specials& specials, bpe::TokenSink& sink) const {
    interruptible(text.size(), [&](bpe::StopFlag& stop) {
      text.encode(tokenizer_, sink, {.specials = specials.get(), .stop = stop});
    });
  }

  // Cuts long texts, so that threads share them; calls `work(part, options)` for each part on as many
  // threads, and then `join(i, results)` for each text with what that gave for its parts.
  template <typename Result, typename Work, typename Join>
  void work_on_parts(const std::vector<Text>& texts, int num_threads, const Specials& specials,
                     const Work& work, const Join& join) const {
    const unsigned threads = bpe::num_threads_for(to_num_threads(num_threads));
    const std::size_t total = total_size(texts);
    interruptible(total, [&](bpe::StopFlag& stop) {
      const bpe::EncodeOptions options{.specials = specials.get(), .stop = stop};
      std::vector<TextView> parts;
      std::vector<std::size_t> first_parts;  // by text
      for (const Text& text : texts) {
        first_parts.push_back(parts.size());
        const std::size_t share = threads == 1 ? text.size() : bpe::share_of(total, threads);
        for (const TextView& part : text.parts(tokenizer_.pattern(), specials.get(), share))
          parts.push_back(part);
      }
      first_parts.push_back(parts.size());

      std::vector<Result> results(parts.size());
      const auto run = [&](std::size_t i) {
        stop.check();
        results[i] = work(parts[i], options);
      };
      bpe::parallel_for(parts.size(), threads, run, [&] { stop.check(); });
      for (std::size_t i = 0; i < texts.size(); ++i) {
        join(i, std::span(results).subspan(first_parts[i], first_parts[i + 1] - first_parts[i]));
      }
    });
  }

  [[nodiscard]] bool is_uint16(const std::string& dtype, const Specials& specials) const {
    if (dtype == "uint32") return false;
    if (dtype != "uint16") throw py::value_error("dtype is '" + dtype + "'; give 'uint16' or 'uint32'");
    require_uint16(specials);
    return true;
  }

  void require_uint16(const Specials& specials) const {
    const TokenId largest =
        std::max(n_vocab() - 1, specials.get() == nullptr ? TokenId{0} : specials.get()->largest_id());
    if (largest < 1u << 16) return;
    throw py::value_error("ids up to " + std::to_string(largest) + " do not fit uint16; take uint32");
  }

  template <typename Id>
  py::array encode_to_array(const Text& text, const Specials& specials) const {
    ArraySink<Id> sink(text.most_tokens());
    encode_to(text, specials, sink);
    return sink.to_array();
  }

  py::array encode_into(const Text& text, const Specials& specials, const py::object& out) const {
    if (py::isinstance<py::array_t<std::uint32_t>>(out))
      return encode_into<std::uint32_t>(text, specials, out);
    if (py::isinstance<py::array_t<std::uint16_t>>(out)) {
      require_uint16(specials);
      return encode_into<std::uint16_t>(text, specials, out);
    }
    throw py::type_error("out is no array of uint16 or uint32");
  }

  template <typename Id>
  py::array encode_into(const Text& text, const Specials& specials, const py::object& out) const {
    auto array = py::reinterpret_borrow<py::array_t<Id>>(out);
    if (array.ndim() != 1 || (array.size() > 1 && array.strides(0) != sizeof(Id)) || !array.writeable()) {
      throw py::value_error("out must be a writable array of one axis without gaps");
    }
    const auto capacity = static_cast<std::size_t>(array.size());
    bpe::BufferSink<Id> sink({array.mutable_data(), capacity});
    encode_to(text, specials, sink);
    if (sink.size > capacity) {
      throw py::value_error("the text has " + std::to_string(sink.size) + " tokens, out has room for " +
                            std::to_string(capacity));
    }
    return array[py::slice(0, static_cast<py::ssize_t>(sink.size), 1)].template cast<py::array>();
  }

  template <typename Id>
  [[nodiscard]] std::vector<std::vector<Id>> encode_all(const std::vector<Text>& texts, int num_threads,
                                                        const Specials& specials) const {
    using Ids = std::vector<Id>;
    std::vector<Ids> results(texts.size());
    work_on_parts<Ids>(
        texts, num_threads, specials,
        [&](const TextView& part, const bpe::EncodeOptions& options) {
          Ids ids;
          ids.reserve(part.most_tokens() / 3 + 16);  // English has about four bytes to a token
          bpe::VectorSink<Id> sink(ids);
          part.encode(tokenizer_, sink, options);
          return ids;
        },
        [&](std::size_t i, std::span<Ids> parts) {
          results[i] = std::move(parts.front());
          for (Ids& part : parts.subspan(1)) {
            results[i].insert(results[i].end(), part.begin(), part.end());
            part = {};
          }
        });
    return results;
  }

  template <typename Id>
  [[nodiscard]] py::list encode_to_arrays(const std::vector<Text>& texts, int num_threads,
                                          const Specials& specials) const {
    py::list arrays;
    for (auto& ids : encode_all<Id>(texts, num_threads, specials)) arrays.append(adopt(std::move(ids)));
    return arrays;
  }

  // The array takes the vector over; nothing is copied.
  template <typename Id>
  static py::array_t<Id> adopt(std::vector<Id>&& ids) {
    auto owner = std::make_unique<std::vector<Id>>(std::move(ids));
    const auto size = static_cast<py::ssize_t>(owner->size());
    const Id* const data = owner->data();
    const py::capsule capsule(owner.get(),
                              [](void* vector) { delete static_cast<std::vector<Id>*>(vector); });
    static_cast<void>(owner.release());
    return py::array_t<Id>(size, data, capsule);
  }

  bpe::Tokenizer tokenizer_;
  SharedInts ints_;
};

}  // namespace

void bind_encoding(py::module_& module) {
  py::class_<SpecialTokens>(module, "SpecialTokens")
      .def(py::init<const std::vector<py::bytes>&, const std::vector<std::int64_t>&>(), py::arg("tokens"),
           py::arg("ids"))
      .def("__len__", &SpecialTokens::size)
      .def("find", &SpecialTokens::find, py::arg("text"), py::arg("start") = 0)
      .def("find_all", &SpecialTokens::find_all, py::arg("text"));

  using Self = BytePairEncoder;
  const auto specials = py::arg("specials") = py::none();
  py::class_<Self>(module, "BytePairEncoder")
      .def(py::init<const std::vector<py::bytes>&, const std::vector<std::int64_t>&, const std::string&,
                    const py::dict&>(),
           py::arg("tokens"), py::arg("ids"), py::arg("pattern"), py::arg("special_tokens") = py::dict())
      .def_static("from_rank_file", &Self::from_file<&bpe::parse_rank_file>, py::arg("contents"),
                  py::arg("pattern"), py::arg("special_tokens") = py::dict())
      .def_static("from_merges", &Self::from_file<&bpe::parse_merges_file>, py::arg("contents"),
                  py::arg("pattern"), py::arg("special_tokens") = py::dict())
      .def_property_readonly("n_vocab", &Self::n_vocab)
      .def("encode_ordinary", &Self::encode_ordinary, py::arg("text"))
      .def("encode", &Self::encode, py::arg("text"), py::arg("specials"))
      .def("encode_to_numpy", &Self::encode_to_numpy, py::arg("text"), py::arg("dtype") = "uint32",
           py::arg("out") = py::none(), specials)
      .def("encode_batch", &Self::encode_batch, py::arg("texts"), py::arg("num_threads"),
           py::arg("dtype") = "uint32", specials)
      .def("encode_batch_lists", &Self::encode_batch_lists, py::arg("texts"), py::arg("num_threads"),
           specials)
      .def("count", &Self::count, py::arg("text"), specials)
      .def("count_batch", &Self::count_batch, py::arg("texts"), py::arg("num_threads"), specials)
      .def("encode_piece", &Self::encode_piece, py::arg("piece"))
      .def("split", &Self::split, py::arg("text"))
      .def("find_safe_cut", &Self::find_safe_cut, py::arg("text"), py::arg("start"))
      .def("decode_bytes", &Self::decode_bytes, py::arg("ids"))
      .def("token_lengths", &Self::token_lengths, py::arg("ids"))
      .def("token_bytes", &Self::token_bytes, py::arg("id"))
      .def("encode_single_token", &Self::encode_single_token, py::arg("token"));
}
