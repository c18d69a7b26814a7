// gpt2x._text: hashed text features and softmax regression (csrc/text) for Python; gpt2x/_text.pyi says what
// each name promises. Every call that takes long releases the GIL.
#include <vector>

#include "features.hpp"
#include "softmax.hpp"
#include "text_arrays.hpp"

namespace py = pybind11;
namespace text = gpt2x::text;
using namespace gpt2x::python;

namespace {

void check_rows(const text::FeatureRows& rows, std::span<const int64_t> numbers) {
  for (const int64_t i : numbers) require(i >= 0 && i < rows.size(), "a row number is out of range");
}

text::Weights weights_of(Array<float>& values, const Array<float>& idf, int classes, int64_t columns) {
  text::Weights weights{changeable(values), span_of(idf), classes};
  require(classes >= 1, "there is no class");
  require(values.ndim() == 2 && values.shape(1) == weights.stride(), "weights are not (F, padded classes)");
  require(idf.size() == values.shape(0) || idf.size() == 0, "idf is not (F,)");
  require(columns <= values.shape(0), "rows have other columns than idf and weights");
  return weights;
}

// Rows whose columns are checked once, by keep().
struct Rows {
  text::FeatureRows rows;
  int bits;
  int64_t columns;

  static Rows read(const py::list& cased, const py::list& lowered, int bits, int threads) {
    require(bits >= 1 && bits <= text::kMostBits, "bits must be from 1 to 24");
    require(cased.size() == lowered.size(), "there are not as many lowered texts");
    const auto cased_views = views_of(cased), lowered_views = views_of(lowered);
    const py::gil_scoped_release release;
    return {text::FeatureRows(cased_views, lowered_views, bits, threads), bits, int64_t{1} << bits};
  }

  py::array_t<uint32_t> row(int64_t i) const {
    require(i >= 0 && i < rows.size(), "a row number is out of range");
    const auto found = rows.row(i);
    return py::array_t<uint32_t>(static_cast<py::ssize_t>(found.size()), found.data());
  }

  py::array_t<int32_t> document_counts(const Array<int64_t>& numbers) const {
    check_rows(rows, span_of(numbers));
    require(columns == int64_t{1} << bits, "rows were brought to columns already");
    std::vector<int32_t> counts;
    {
      const py::gil_scoped_release release;
      counts = rows.document_counts(span_of(numbers), bits);
    }
    return py::array_t<int32_t>(static_cast<py::ssize_t>(counts.size()), counts.data());
  }

  void class_counts(const Array<int64_t>& numbers, const Array<int32_t>& truth, const Array<float>& weights,
                    Array<float> counts) const {
    check_rows(rows, span_of(numbers));
    require(truth.size() == rows.size() && weights.size() == rows.size(), "one class and weight a row");
    require(counts.ndim() == 2 && counts.shape(0) >= columns, "counts are not (F, K)");
    const auto stride = static_cast<int>(counts.shape(1));
    for (const int32_t own : span_of(truth)) require(own >= 0 && own < stride, "a class is out of range");
    const auto sums = changeable(counts);
    const py::gil_scoped_release release;
    rows.class_counts(span_of(numbers), span_of(truth), span_of(weights), stride, sums);
  }

  // The group of each number, -1 where none has it; of several the last.
  Array<int8_t> groups() const {
    Array<int8_t> found(static_cast<py::ssize_t>(columns));
    const auto own = changeable(found);
    std::fill(own.begin(), own.end(), int8_t{-1});
    for (int64_t i = 0; i < rows.size(); ++i)
      for (const uint32_t feature : rows.row(i))
        own[feature & text::kNumberMask] = static_cast<int8_t>(feature >> text::kGroupShift);
    return found;
  }

  py::array_t<uint8_t> group_bits() const {
    require(columns == int64_t{1} << bits, "rows were brought to columns already");
    const std::vector<uint8_t> found = rows.group_bits(bits);
    return py::array_t<uint8_t>(static_cast<py::ssize_t>(found.size()), found.data());
  }

  void keep(const Array<int32_t>& places, int threads) {
    require(columns == int64_t{1} << bits, "rows were brought to columns already");
    require(places.size() == columns, "columns has not 2^bits entries");
    int64_t most = 0;
    for (const int32_t column : span_of(places)) most = std::max<int64_t>(most, int64_t{column} + 1);
    require(most <= text::kNumberMask, "too many columns");
    const py::gil_scoped_release release;
    rows.keep(span_of(places), threads);
    columns = most;
  }
};

double learn(const Rows& rows, const Array<int64_t>& order, const Array<int32_t>& truth,
             const Array<float>& row_weights, Array<float> weights, const Array<float>& idf, int classes,
             Array<float> squares, float learning_rate, float dropout, uint64_t seed) {
  const text::Weights model = weights_of(weights, idf, classes, rows.columns);
  check_rows(rows.rows, span_of(order));
  require(truth.size() == rows.rows.size() && row_weights.size() == truth.size(),
          "one class and weight a row");
  for (const int32_t own : span_of(truth)) require(own >= 0 && own < classes, "a class is out of range");
  require(squares.size() == weights.shape(0), "squares is not (F,)");
  require(dropout >= 0 && dropout < 1, "dropout is not from 0 to below 1");
  const auto sums = changeable(squares);
  const py::gil_scoped_release release;
  return text::learn(rows.rows, span_of(order), span_of(truth), span_of(row_weights), model, sums,
                     {learning_rate, dropout, seed});
}

}  // namespace

PYBIND11_MODULE(_text, module) {
  module.doc() =
      "Hashed text features and softmax regression (csrc/text); gpt2x.classify is the public face.";
  module.attr("lanes") = text::kLanes;
  py::class_<Rows>(module, "FeatureRows")
      .def(py::init(&Rows::read), py::arg("cased"), py::arg("lowered"), py::arg("bits"),
           py::arg("threads") = 1)
      .def("__len__", [](const Rows& self) { return self.rows.size(); })
      .def_property_readonly("num_features", [](const Rows& self) { return self.rows.num_features(); })
      .def("row", &Rows::row, py::arg("i"))
      .def("document_counts", &Rows::document_counts, py::arg("rows"))
      .def("class_counts", &Rows::class_counts, py::arg("rows"), py::arg("truth"), py::arg("row_weights"),
           py::arg("counts").noconvert())
      .def("groups", &Rows::groups)
      .def("group_bits", &Rows::group_bits)
      .def("keep", &Rows::keep, py::arg("columns"), py::arg("threads") = 1);
  module.def("learn", &learn, py::arg("rows"), py::arg("order"), py::arg("truth"), py::arg("row_weights"),
             py::arg("weights").noconvert(), py::arg("idf").noconvert(), py::arg("classes"),
             py::arg("squares").noconvert(), py::arg("learning_rate"), py::arg("dropout"), py::arg("seed"));
  add_scoring(module);
}
