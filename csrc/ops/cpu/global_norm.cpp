// global_norm on the CPU: one read per element. Spans have a fixed size and their sums are added in order, in
// double, so the result is the same whatever the number of threads.
#include "../rows/global_norm.h"

#include <torch/csrc/stable/library.h>

#include <cmath>
#include <vector>

#include "../checks.h"
#include "clones.h"
#include "row_blocks.h"
#include "spans.h"

namespace gpt2x::cpu {
namespace {

// Float sums over short pieces, double from there on: a long float sum would lose what it has gathered.
template <class T>
GPT2X_CLONES double span_squares(const T* x, int64_t n) {
  constexpr int64_t kPiece = 1024;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kPiece) {
    total += static_cast<double>(
        rows::sum_of_squares(rows::SingleThread{}, x + begin, std::min(kPiece, n - begin)));
  }
  return total;
}

double squares_of(const Tensor& tensor, const Span& span) {
  double squares = 0;
  with_storage("tensors", tensor.scalar_type(), [&](auto value) {
    squares = span_squares(read<decltype(value)>(tensor) + span.begin, span.length);
  });
  return squares;
}

Tensor global_norm(std::vector<Tensor> tensors) {
  if (tensors.empty()) refuse("tensors: expected at least one");
  std::vector<int64_t> sizes;
  const ScalarType accumulation = accumulation_dtype(tensors[0].scalar_type());
  for (Tensor& tensor : tensors) {
    check_cpu("tensors", tensor);
    with_storage("tensors", tensor.scalar_type(),
                 [](auto) {});  // refuses other dtypes here, not inside a thread
    if (accumulation_dtype(tensor.scalar_type()) != accumulation)
      refuse("tensors: expected all float64 or none");
    tensor = dense(tensor);
    sizes.push_back(tensor.numel());
  }
  const std::vector<Span> spans = cut_into_spans(sizes);
  std::vector<double> squares(spans.size());
  parallel_for(0, static_cast<int64_t>(spans.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) squares[i] = squares_of(tensors[spans[i].tensor], spans[i]);
  });
  double total = 0;
  for (const double part : squares) total += part;
  Tensor norm = torch::stable::new_empty(tensors[0], std::vector<int64_t>{}, accumulation);
  if (accumulation == ScalarType::Double) {
    *write<double>(norm) = std::sqrt(total);
  } else {
    *write<float>(norm) = static_cast<float>(std::sqrt(total));
  }
  return norm;
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("global_norm", TORCH_BOX(&gpt2x::cpu::global_norm));
}
