#include "scorer.hpp"

#include <algorithm>
#include <string>

#include "features.hpp"
#include "lanes.hpp"
#include "parallel.hpp"

namespace gpt2x::text {
namespace {

// A part of the texts has so many, or so many bytes, for each of which its features take up to 100.
constexpr size_t kTextsAtOnce = 768, kBytesAtOnce = 1 << 20;

// Where each part of the texts begins, and where the last ends (just 0 without a text); a text is never cut.
std::vector<size_t> part_bounds(std::span<const std::string_view> texts) {
  std::vector<size_t> bounds{0};
  size_t bytes = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const bool is_full = i - bounds.back() == kTextsAtOnce || bytes + texts[i].size() > kBytesAtOnce;
    if (is_full && i > bounds.back()) {
      bounds.push_back(i);
      bytes = 0;
    }
    bytes += texts[i].size();
  }
  if (!texts.empty()) bounds.push_back(texts.size());
  return bounds;
}

// Calls work(first, end) for parts of the texts, on up to `threads` threads.
template <class Work>
void for_parts(std::span<const std::string_view> texts, int threads, const Work& work) {
  const std::vector<size_t> bounds = part_bounds(texts);
  parallel_for(static_cast<int64_t>(bounds.size()) - 1, threads,
               [&](int64_t part) { work(bounds[part], bounds[part + 1]); });
}

// The last rows with zeros behind them, so that whole lanes can be read there.
std::vector<float> last_rows(std::span<const float> weights, size_t first, size_t width, size_t lanes) {
  const auto rows = weights.subspan(first * width);
  std::vector<float> last(rows.size() + lanes);
  std::copy(rows.begin(), rows.end(), last.begin());
  return last;
}

}  // namespace

// A part of the texts, which one thread scores.
class Scorer::Part {
 public:
  Part(const Scorer& scorer, size_t first, size_t end, const Answers& answers)
      : scorer_(scorer),
        answers_{answers.scores.subspan(first * scorer.classes_, (end - first) * scorer.classes_),
                 answers.known.subspan(first, end - first)},
        reader_(scorer.bits_),
        batch_(scorer.bits_) {
    std::fill(answers_.known.begin(), answers_.known.end(), uint8_t{0});
  }

  void read(size_t place, std::string_view cased, std::string_view lowered) {
    reader_.read(cased, lowered, features_);
    batch_.add(static_cast<uint32_t>(place), features_);
    answers_.known[place] = scorer_.knows_letter_of(reader_, lowered);
  }

  void answer() {
    batch_.order(scorer_.columns_);
    batch_.mark_known(scorer_.groups_, answers_.known);
    const size_t lanes = scorer_.weights_.lanes, classes = scorer_.classes_;
    std::vector<float> sums(answers_.known.size() * lanes);
    batch_.add_up(scorer_.idf_, scorer_.weights_, sums);
    for (size_t i = 0; i < answers_.known.size(); ++i)
      std::copy_n(sums.begin() + i * lanes, classes, answers_.scores.begin() + i * classes);
  }

 private:
  const Scorer& scorer_;
  Answers answers_;
  FeatureReader reader_;
  Batch batch_;
  std::vector<uint32_t> features_;
};

Scorer::Scorer(std::span<const int64_t> numbers, int bits, std::span<const float> weights, size_t width,
               std::span<const float> idf, std::span<const uint8_t> groups, int classes)
    : bits_(bits), classes_(classes), columns_(numbers, bits), idf_(idf), groups_(groups) {
  const size_t lanes = padded(classes), count = numbers.size();
  const size_t first_last = width >= lanes ? count : count - std::min(count, (lanes + width - 1) / width);
  last_ = last_rows(weights, first_last, width, lanes);
  weights_ = {weights.data(), width, lanes, static_cast<uint32_t>(first_last), last_.data()};
}

bool Scorer::knows_letter_of(const FeatureReader& reader, std::string_view lowered) const {
  bool found = false;
  reader.read_letters(lowered, [&](uint32_t number) {
    const int32_t column = columns_.find(number);
    found = found || (column >= 0 && groups_[column] & kLetterBit);
  });
  return found;
}

void Scorer::score(std::span<const std::string_view> cased, std::span<const std::string_view> lowered,
                   int threads, const Answers& answers) const {
  for_parts(cased, threads, [&](size_t first, size_t end) {
    Part part(*this, first, end, answers);
    for (size_t i = first; i < end; ++i) part.read(i - first, cased[i], lowered[i]);
    part.answer();
  });
}

std::vector<int64_t> Scorer::score_lines(std::span<const std::string_view> lines, LineForm form, int threads,
                                         const Answers& answers) const {
  std::vector<uint8_t> left(lines.size());
  for_parts(lines, threads, [&](size_t first, size_t end) {
    Part part(*this, first, end, answers);
    std::string cased, lowered;
    for (size_t i = first; i < end; ++i) {
      left[i] = !read_line(lines[i], form, cased, lowered);
      if (!left[i]) part.read(i - first, cased, lowered);
    }
    part.answer();
  });
  std::vector<int64_t> numbers;
  for (size_t i = 0; i < left.size(); ++i)
    if (left[i]) numbers.push_back(static_cast<int64_t>(i));
  return numbers;
}

}  // namespace gpt2x::text
