// gpt2x._text.Scorer: texts and raw lines to scores (csrc/text/scorer.hpp).
#include "features.hpp"
#include "scorer.hpp"
#include "text_arrays.hpp"

namespace gpt2x::python {
namespace {

// Room for the answers of `count` texts, as Python gets them.
struct Answered {
  Answered(size_t count, int classes)
      : scores({static_cast<py::ssize_t>(count), static_cast<py::ssize_t>(classes)}),
        known(static_cast<py::ssize_t>(count)) {}

  text::Answers spans() {
    static_assert(sizeof(bool) == sizeof(uint8_t));
    return {changeable(scores), {reinterpret_cast<uint8_t*>(known.mutable_data()), size_t(known.size())}};
  }

  Array<float> scores;
  Array<bool> known;
};

// A scorer, and the arrays that it reads.
class Scorer {
 public:
  Scorer(const Array<int64_t>& numbers, int bits, Array<float> weights, Array<float> idf,
         Array<uint8_t> groups, int classes)
      : weights_(std::move(weights)),
        idf_(std::move(idf)),
        groups_(std::move(groups)),
        scorer_(make(numbers, bits, classes)) {}

  py::tuple score(const py::list& cased, const py::list& lowered, int threads) const {
    require(cased.size() == lowered.size(), "there are not as many lowered texts");
    const auto cased_views = views_of(cased), lowered_views = views_of(lowered);
    Answered answered(cased_views.size(), scorer_.classes());
    const text::Answers out = answered.spans();
    {
      const py::gil_scoped_release release;
      scorer_.score(cased_views, lowered_views, threads, out);
    }
    return py::make_tuple(answered.scores, answered.known);
  }

  py::tuple score_lines(const py::bytes& data, bool typographic, bool fields, int threads) const {
    const auto view = static_cast<std::string_view>(data);
    const std::vector<std::string_view> lines = text::lines_of(view);
    Answered answered(lines.size(), scorer_.classes());
    const text::Answers out = answered.spans();
    std::vector<int64_t> left;
    {
      const py::gil_scoped_release release;
      left = scorer_.score_lines(lines, {typographic, fields}, threads, out);
    }
    return py::make_tuple(answered.scores, answered.known, bounds_of(view, lines),
                          Array<int64_t>(static_cast<py::ssize_t>(left.size()), left.data()));
  }

 private:
  text::Scorer make(const Array<int64_t>& numbers, int bits, int classes) const {
    require(bits >= 1 && bits <= text::kMostBits, "bits must be from 1 to 24");
    require(classes >= 1, "there is no class");
    require(weights_.ndim() == 2 && weights_.shape(0) == numbers.size() && weights_.shape(1) >= classes,
            "weights are not (F, classes or more)");
    require(idf_.size() == numbers.size() || idf_.size() == 0, "idf is not (F,)");
    require(groups_.size() == numbers.size(), "groups is not (F,)");
    int64_t least = 0;
    for (const int64_t number : span_of(numbers)) {
      require(number >= least && number < int64_t{1} << bits, "numbers are not ascending and below 2^bits");
      least = number + 1;
    }
    return {
        span_of(numbers), bits,   span_of(weights_), static_cast<size_t>(weights_.shape(1)), span_of(idf_),
        span_of(groups_), classes};
  }

  // Where each line begins and ends in the data: (N, 2).
  static Array<int64_t> bounds_of(std::string_view data, const std::vector<std::string_view>& lines) {
    Array<int64_t> bounds({static_cast<py::ssize_t>(lines.size()), py::ssize_t{2}});
    int64_t* out = bounds.mutable_data();
    for (const std::string_view line : lines) {
      *out++ = line.data() - data.data();
      *out++ = line.data() - data.data() + static_cast<int64_t>(line.size());
    }
    return bounds;
  }

  Array<float> weights_, idf_;
  Array<uint8_t> groups_;
  text::Scorer scorer_;
};

}  // namespace

void add_scoring(py::module_& module) {
  py::class_<Scorer>(module, "Scorer")
      .def(py::init<const Array<int64_t>&, int, Array<float>, Array<float>, Array<uint8_t>, int>(),
           py::arg("numbers"), py::arg("bits"), py::arg("weights").noconvert(), py::arg("idf").noconvert(),
           py::arg("groups").noconvert(), py::arg("classes"))
      .def("score", &Scorer::score, py::arg("cased"), py::arg("lowered"), py::arg("threads") = 1)
      .def("score_lines", &Scorer::score_lines, py::arg("data"), py::arg("typographic"), py::arg("fields"),
           py::arg("threads") = 1);
}

}  // namespace gpt2x::python
