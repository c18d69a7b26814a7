// embedding_backward_ on the CPU: only the rows whose tokens occur are touched, so the gradient of a tied
// head takes the embedding's in with N reads and writes of a row instead of a pass over V of them.
//
// The places of each token are summed in the order in which they stand, by one thread: the result has the
// same bits for any number of threads.
#include "../rows/embedding_backward.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "../checks.h"
#include "clones.h"
#include "row_blocks.h"

namespace gpt2x::cpu {
namespace {

// Places by token: those of token t stand together, in order.
struct Places {
  std::vector<int64_t> order;   // places, sorted by their token
  std::vector<int64_t> starts;  // where in `order` each token that occurs begins, and the end
};

Places sort_by_token(const int64_t* ids, int64_t N) {
  Places places{std::vector<int64_t>(static_cast<size_t>(N)), {}};
  std::iota(places.order.begin(), places.order.end(), 0);
  std::stable_sort(places.order.begin(), places.order.end(),
                   [ids](int64_t a, int64_t b) { return ids[a] < ids[b]; });
  for (int64_t k = 0; k < N; ++k) {
    if (k == 0 || ids[places.order[k]] != ids[places.order[k - 1]]) places.starts.push_back(k);
  }
  places.starts.push_back(N);
  return places;
}

template <class T, class P>
GPT2X_CLONES void add_tokens(int64_t begin, int64_t end, const Places& places, const T* dy,
                             const int64_t* ids, int64_t C, P* dweight) {
  for (int64_t t = begin; t < end; ++t) {
    const int64_t* first = places.order.data() + places.starts[t];
    rows::embedding_backward_row(rows::SingleThread{}, dy, first, places.starts[t + 1] - places.starts[t], C,
                                 dweight + ids[*first] * C);
  }
}

void check_ids(const int64_t* ids, int64_t N, int64_t V) {
  for (int64_t n = 0; n < N; ++n) {
    if (ids[n] >= 0 && ids[n] < V) continue;
    std::ostringstream message;
    message << "ids: expected ids in 0.." << V - 1 << ", got " << ids[n] << " at row " << n;
    throw std::out_of_range(message.str());
  }
}

void embedding_backward_(Tensor dweight, const Tensor& dy, const Tensor& ids) {
  check_cpu("dweight", dweight);
  if (dweight.dim() != 2 || !dweight.is_contiguous())
    refuse("dweight: expected a contiguous (V, C), got ", shape_of(dweight));
  const int64_t V = dweight.size(0), C = dweight.size(1);
  check_cpu("ids", ids);
  check_dtype("ids", ids, ScalarType::Long);
  check_shape("ids", ids, {ids.numel()});
  const int64_t N = ids.numel();
  check_cpu("dy", dy);
  check_shape("dy", dy, {N, C});
  check_parameter_dtype("dweight", dweight, dy.scalar_type());
  const Tensor upstream = dense(dy), tokens = dense(ids);
  const int64_t* id = read<int64_t>(tokens);
  check_ids(id, N, V);
  const Places places = sort_by_token(id, N);
  const int64_t num_tokens = static_cast<int64_t>(places.starts.size()) - 1;
  with_storage("dy", dy.scalar_type(), dweight.scalar_type(), [&](auto activation, auto parameter) {
    using T = decltype(activation);
    using P = decltype(parameter);
    const T* from = read<T>(upstream);
    P* to = write<P>(dweight);
    parallel_for(0, num_tokens, grain_rows(C),
                 [&](int64_t begin, int64_t end) { add_tokens(begin, end, places, from, id, C, to); });
  });
}

}  // namespace
}  // namespace gpt2x::cpu

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("embedding_backward_", TORCH_BOX(&gpt2x::cpu::embedding_backward_));
}
