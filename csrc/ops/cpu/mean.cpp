// mean_ on the CPU: each addend read once, each mean written once, 8 bytes an element for two bfloat16
// addends; it should run at the speed of memory. Spans have a fixed size and their squares are added in
// order, in double, so the result is the same whatever the number of threads.
#include "../rows/mean.h"

#include <torch/csrc/stable/library.h>

#include <vector>

#include "../checks.h"
#include "clones.h"
#include "row_blocks.h"
#include "spans.h"

namespace gpt2x::cpu {
namespace {

// Float sums of squares over short pieces, double from there on: a long float sum would lose what it has
// gathered.
template <class T, class W = rows::Accumulation<T>>
GPT2X_CLONES double mean_span(const T** addends, int64_t count, int64_t n, W* out) {
  constexpr int64_t kPiece = 1024;
  double squares = 0;
  for (int64_t begin = 0; begin < n; begin += kPiece) {
    const int64_t length = std::min(kPiece, n - begin);
    squares += static_cast<double>(rows::mean_row(rows::SingleThread{}, addends, count, length, out + begin));
    for (int64_t j = 0; j < count; ++j) addends[j] += length;
  }
  return squares;
}

// The addends of out[i] stand at i, i + out.size(), …
void check_places(const std::vector<Tensor>& out, const std::vector<Tensor>& addends) {
  if (out.empty() || addends.empty() || addends.size() % out.size() != 0) {
    refuse("addends: expected as many for each of the ", out.size(), " tensors in out, got ", addends.size());
  }
  for (size_t i = 0; i < addends.size(); ++i) {
    const Tensor &mean = out[i % out.size()], &like = addends[i % out.size()];
    check_cpu("out", mean);
    check_cpu("addends", addends[i]);
    check_dtype("addends", addends[i], like.scalar_type());
    with_storage("addends", like.scalar_type(), [](auto) {});  // refuses here, not inside a thread
    check_dtype("out", mean, accumulation_dtype(like.scalar_type()));
    check_shape("addends", addends[i], std::vector<int64_t>(mean.sizes().begin(), mean.sizes().end()));
    if (!mean.is_contiguous()) refuse("out: expected contiguous tensors, number ", i, " is not");
  }
}

double mean_of(const std::vector<Tensor>& out, const std::vector<Tensor>& addends, const Span& span) {
  double squares = 0;
  with_storage("addends", addends[span.tensor].scalar_type(), [&](auto value) {
    using T = decltype(value);
    std::vector<const T*> from;
    for (size_t i = span.tensor; i < addends.size(); i += out.size()) {
      from.push_back(read<T>(addends[i]) + span.begin);
    }
    auto* to = write<rows::Accumulation<T>>(out[span.tensor]) + span.begin;
    squares = mean_span<T>(from.data(), static_cast<int64_t>(from.size()), span.length, to);
  });
  return squares;
}

Tensor mean_(std::vector<Tensor> out, std::vector<Tensor> addends) {
  check_places(out, addends);
  std::vector<int64_t> sizes;
  for (const Tensor& mean : out) sizes.push_back(mean.numel());
  for (Tensor& addend : addends) addend = dense(addend);
  const std::vector<Span> spans = cut_into_spans(sizes);
  std::vector<double> squares(spans.size());
  parallel_for(0, static_cast<int64_t>(spans.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) squares[i] = mean_of(out, addends, spans[i]);
  });
  Tensor total = torch::stable::new_empty(out[0], std::vector<int64_t>{}, ScalarType::Double);
  double* sum = write<double>(total);
  *sum = 0;
  for (const double part : squares) *sum += part;
  return total;
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("mean_", TORCH_BOX(&gpt2x::cpu::mean_));
}
