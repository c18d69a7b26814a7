// Causal attention of one head as small matrix products over tiles (Dao 2023, "FlashAttention-2"): `kQueries`
// queries meet up to `kKeys` keys at a time, so that a tile's scores stay in the first two caches and the
// T × T matrix is never held. Products are summed in float32 (double for double).
//
// A product C (M, N) += A (M, K) B (K, N) reads *units*: single numbers, or with Bf16Pairs two neighbours
// along K, which one instruction multiplies and adds up. So A holds its rows as they are, and B holds each
// pair of rows interleaved. All sizes are rounded up to 16 and filled with zeros when a head is packed, so
// that no product has a ragged edge.
//
//   forward    S^T = K Q^T, P^T = softmax, O^T += V^T P^T
//   backward   S^T = K Q^T, dP^T = V dO^T, dV += P^T dO, dK += dS^T Q, dQ^T += K^T dS^T
//
// Included once in each file that compiles it for an instruction set (target.h).
#pragma once

#include "../rows/causal_attention.h"
#include "attention_head.h"

namespace gpt2x::cpu {
namespace {

using rows::kLanes;
using rows::Lanes;
using rows::load_lanes;
using rows::store_lanes;

constexpr int64_t kQueries = 64, kKeys = 64;

GPT2X_HD int64_t round_up(int64_t n, int64_t step) {
  return (n + step - 1) / step * step;
}

// ----------------------------------------------------------------------------------------------------------------
// Units

// One number a unit: any storage, widened.
template <class T>
struct Plain {
  using Storage = T;
  using W = rows::Accumulation<T>;
  using Unit = W;
  static constexpr int kPair = 1;     // numbers in a unit
  static constexpr int kRows = 6;     // of a block of C in registers; 6 × 1 vectors of 64 bytes fit AVX2's 16
  static constexpr int kVectors = 1;  // registers as well

  GPT2X_HD static void multiply_add(Lanes<W>& sum, Unit a, const Unit* b) { sum += a * load_lanes<W>(b); }
  GPT2X_HD static Unit unit(const T* pair, int64_t) { return rows::to_accumulation(pair[0]); }
  GPT2X_HD static Unit interleaved(const T* first, const T*) { return rows::to_accumulation(*first); }
  // Rows of lanes as rows of A, and as a row of B.
  GPT2X_HD static void store_row(const Lanes<W>& row, Unit* to) { store_lanes(row, to); }
  GPT2X_HD static void store_interleaved(const Lanes<W>* rows, Unit* to) { store_lanes(rows[0], to); }
};

// ----------------------------------------------------------------------------------------------------------------
// Products

// R rows and V vectors of C, in registers while k runs.
template <class P, int R, int V, class W = typename P::W, class Unit = typename P::Unit>
GPT2X_HD void multiply_block(const Unit* a, int64_t a_stride, const Unit* b, int64_t b_stride, int64_t K,
                             bool add, W* c, int64_t c_stride) {
  Lanes<W> sums[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v)
      sums[r][v] = add ? load_lanes<W>(c + r * c_stride + v * kLanes<W>) : Lanes<W>{};
  }
  for (int64_t k = 0; k < K; ++k) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v)
        P::multiply_add(sums[r][v], a[r * a_stride + k], b + k * b_stride + v * kLanes<W>);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) store_lanes(sums[r][v], c + r * c_stride + v * kLanes<W>);
  }
}

// The blocks of a column of V vectors. M is a multiple of 16, so that 6 rows at a time leave 4, 2 or none.
template <class P, int V, class W = typename P::W, class Unit = typename P::Unit>
GPT2X_HD void multiply_column(int64_t M, const Unit* a, int64_t a_stride, const Unit* b, int64_t b_stride,
                              int64_t K, bool add, W* c, int64_t c_stride) {
  int64_t m = 0;
  for (; m + P::kRows <= M; m += P::kRows) {
    multiply_block<P, P::kRows, V>(a + m * a_stride, a_stride, b, b_stride, K, add, c + m * c_stride,
                                   c_stride);
  }
  if constexpr (16 % P::kRows != 0) {
    for (; m < M; m += 2)
      multiply_block<P, 2, V>(a + m * a_stride, a_stride, b, b_stride, K, add, c + m * c_stride, c_stride);
  }
}

// C (M, N) = A (M, K units) B (K units, N), or added to C.
template <class P, class W = typename P::W, class Unit = typename P::Unit>
__attribute__((noinline)) void multiply(int64_t M, int64_t N, int64_t K, const Unit* a, int64_t a_stride,
                                        const Unit* b, int64_t b_stride, bool add, W* c, int64_t c_stride) {
  constexpr int64_t kWide = P::kVectors * kLanes<W>;
  int64_t n = 0;
  for (; n + kWide <= N; n += kWide)
    multiply_column<P, P::kVectors>(M, a, a_stride, b + n, b_stride, K, add, c + n, c_stride);
  for (; n < N; n += kLanes<W>)
    multiply_column<P, 1>(M, a, a_stride, b + n, b_stride, K, add, c + n, c_stride);
}

// ----------------------------------------------------------------------------------------------------------------
// Packing

// to (columns, rows) = from (rows, columns), in blocks of 4 × 4; both sizes are multiples of 4.
template <class X>
GPT2X_HD void transpose(const X* from, int64_t rows, int64_t columns, int64_t from_stride, X* to,
                        int64_t to_stride) {
  typedef X Four __attribute__((vector_size(4 * sizeof(X))));
  for (int64_t i = 0; i < rows; i += 4) {
    for (int64_t j = 0; j < columns; j += 4) {
      Four in[4], out[4];
      for (int r = 0; r < 4; ++r) std::memcpy(&in[r], from + (i + r) * from_stride + j, sizeof in[r]);
      const Four a = __builtin_shufflevector(in[0], in[1], 0, 4, 1, 5);
      const Four b = __builtin_shufflevector(in[2], in[3], 0, 4, 1, 5);
      const Four c = __builtin_shufflevector(in[0], in[1], 2, 6, 3, 7);
      const Four d = __builtin_shufflevector(in[2], in[3], 2, 6, 3, 7);
      out[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5), out[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
      out[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5), out[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
      for (int r = 0; r < 4; ++r) std::memcpy(to + (j + r) * to_stride + i, &out[r], sizeof out[r]);
    }
  }
}

// Sizes of a packed head.
template <class P>
struct Packed {
  int64_t T, D, Tp, Dp, pairs;  // tokens, channels, both rounded up to 16, units in a row of Dp
  explicit GPT2X_HD Packed(const HeadShape& shape)
      : T(shape.T), D(shape.D), Tp(round_up(T, 16)), Dp(round_up(D, 16)), pairs(Dp / P::kPair) {}
};

// Tokens first..first+count as rows of A: to (count, Dp / pair). Those from T on are zeros.
template <class P, class T, class Unit = typename P::Unit>
GPT2X_HD void pack_rows(const Packed<P>& z, const T* from, int64_t stride, int64_t first, int64_t count,
                        Unit* to) {
  for (int64_t i = 0; i < count; ++i, to += z.pairs) {
    const T* row = from + (first + i) * stride;
    const int64_t whole = first + i < z.T ? z.D / P::kPair : 0;
    for (int64_t u = 0; u < whole; ++u) to[u] = P::unit(row + u * P::kPair, P::kPair);
    for (int64_t u = whole; u < z.pairs; ++u) to[u] = Unit{};
    if (first + i < z.T && whole * P::kPair < z.D) to[whole] = P::unit(row + whole * P::kPair, 1);
  }
}

// The same tokens as rows of B: to (count / pair, Dp), each unit a channel of `pair` tokens.
template <class P, class T, class Unit = typename P::Unit>
GPT2X_HD void pack_interleaved(const Packed<P>& z, const T* from, int64_t stride, int64_t first,
                               int64_t count, Unit* to) {
  const T zeros[1] = {};
  for (int64_t i = 0; i < count; i += P::kPair, to += z.Dp) {
    const T* one = from + (first + i) * stride;
    const int64_t here = z.T - first - i;  // tokens from this one on
    const T* other = one + stride;
    const int64_t whole = here > 0 ? z.D : 0;
    if (here >= P::kPair) {
      for (int64_t d = 0; d < whole; ++d) to[d] = P::interleaved(one + d, other + d);
    } else {
      for (int64_t d = 0; d < whole; ++d) to[d] = P::interleaved(one + d, zeros);
    }
    for (int64_t d = whole; d < z.Dp; ++d) to[d] = Unit{};
  }
}

// Hands out parts of one piece of memory; with null it only counts.
class Shelf {
 public:
  explicit GPT2X_HD Shelf(void* memory) : memory_(static_cast<char*>(memory)) {}
  template <class X>
  GPT2X_HD X* take(int64_t count) {
    X* part = memory_ == nullptr ? nullptr : reinterpret_cast<X*>(memory_ + used_);
    used_ += round_up(count * static_cast<int64_t>(sizeof(X)), 64);
    return part;
  }
  GPT2X_HD int64_t used() const { return used_; }

 private:
  char* memory_;
  int64_t used_ = 0;
};

// Which of the keys first_key.. each query of a vector sees: those up to itself. A query from T on sees none.
template <class W>
GPT2X_HD rows::Visible<W> visible_keys(int64_t first_query, int64_t first_key, int64_t num_keys, int64_t T) {
  rows::Visible<W> visible{{}, first_key + num_keys <= first_query + 1 && first_query + kLanes<W> <= T};
  if (visible.all) return visible;
  for (int lane = 0; lane < kLanes<W>; ++lane) {
    const int64_t query = first_query + lane;
    visible.first_hidden[lane] = query < T ? static_cast<W>(query - first_key + 1) : W(0);
  }
  return visible;
}

// How many of the keys the last query of a vector sees.
template <class W>
GPT2X_HD int64_t num_visible(int64_t first_query, int64_t first_key, int64_t num_keys) {
  const int64_t seen = first_query + kLanes<W> - first_key;
  return seen < num_keys ? seen : num_keys;
}

template <class W>
GPT2X_HD W scale_of(int64_t D) {
  return static_cast<W>(1 / __builtin_sqrt(static_cast<double>(D)));
}

// ----------------------------------------------------------------------------------------------------------------
// Forward

template <class P, class W = typename P::W, class Unit = typename P::Unit>
struct ForwardMemory {
  Unit *keys, *values, *queries, *weights, *rows;
  W *scores, *totals;

  GPT2X_HD ForwardMemory(const Packed<P>& z, Shelf& shelf)
      : keys(shelf.template take<Unit>(z.Tp * z.pairs)),                     // (Tp, Dp): K
        values(shelf.template take<Unit>(round_up(z.Tp, kKeys) * z.pairs)),  // per block (Dp, kKeys): V^T
        queries(shelf.template take<Unit>(z.pairs * kQueries)),              // (Dp, kQueries): Q^T
        weights(shelf.template take<Unit>(kKeys / P::kPair * kQueries)),     // (kKeys, kQueries): P^T
        rows(shelf.template take<Unit>(kKeys * z.Dp)),                       // before it is transposed
        scores(shelf.template take<W>(kKeys * kQueries)),                    // (kKeys, kQueries): S^T
        totals(shelf.template take<W>(z.Dp * kQueries)) {}                   // (Dp, kQueries): O^T
};

// Blocks of `kKeys` tokens as rows of A that run along the tokens: to (Dp, kKeys / pair) each.
template <class P, class T, class Unit = typename P::Unit>
GPT2X_HD void pack_transposed_blocks(const Packed<P>& z, const T* from, int64_t stride, Unit* rows,
                                     Unit* to) {
  for (int64_t first = 0; first < z.Tp; first += kKeys, to += z.pairs * kKeys) {
    const int64_t count = first + kKeys < z.Tp ? kKeys : z.Tp - first;
    pack_interleaved<P>(z, from, stride, first, count, rows);
    transpose(rows, count / P::kPair, z.Dp, z.Dp, to, kKeys / P::kPair);
  }
}

// Queries as columns of B: to (Dp / pair, kQueries).
template <class P, class T, class Unit = typename P::Unit>
GPT2X_HD void pack_columns(const Packed<P>& z, const T* from, int64_t stride, int64_t first, int64_t count,
                           Unit* rows, Unit* to) {
  pack_rows<P>(z, from, stride, first, count, rows);
  transpose(rows, count, z.pairs, z.pairs, to, kQueries);
}

// Weights (num_keys, count) as rows of B.
template <class P, class W = typename P::W, class Unit = typename P::Unit>
GPT2X_HD void interleave_weights(const W* weights, int64_t num_keys, int64_t count, Unit* to) {
  for (int64_t key = 0; key < num_keys; key += P::kPair, to += kQueries) {
    for (int64_t lane = 0; lane < count; lane += kLanes<W>) {
      Lanes<W> rows[P::kPair];
      for (int i = 0; i < P::kPair; ++i) rows[i] = load_lanes<W>(weights + (key + i) * kQueries + lane);
      P::store_interleaved(rows, to + lane);
    }
  }
}

// factors (count) for the columns of totals (Dp, count).
template <class W>
GPT2X_HD void scale_columns(W* totals, int64_t Dp, int64_t lane, const Lanes<W>& factor) {
  for (int64_t d = 0; d < Dp; ++d) {
    W* row = totals + d * kQueries + lane;
    store_lanes(load_lanes<W>(row) * factor, row);
  }
}

// Rows first.. of `to` from columns (Dp, kQueries), each rounded to its storage; `rows` holds them in
// between.
template <class T, class W>
GPT2X_HD void write_columns(const W* columns, int64_t Dp, int64_t count, int64_t D, int64_t num_rows, W scale,
                            W* rows, T* to, int64_t stride) {
  transpose(columns, Dp, count, kQueries, rows, Dp);
  for (int64_t i = 0; i < num_rows; ++i) {
    const W* row = rows + i * Dp;
    T* place = to + i * stride;
    GPT2X_SIMD
    for (int64_t d = 0; d < D; ++d) place[d] = rows::to_storage<T>(row[d] * scale);
  }
}

template <class P, class T, class W = typename P::W>
GPT2X_HD void forward_tile(const Packed<P>& z, const HeadShape& shape, const HeadForward<T>& head,
                           const ForwardMemory<P>& memory, int64_t first) {
  constexpr int64_t kVectors = kQueries / kLanes<W>;
  const int64_t count = first + kQueries < z.Tp ? kQueries : z.Tp - first, end = first + count;
  pack_columns<P>(z, head.q, shape.qkv_stride, first, count, memory.rows, memory.queries);
  rows::SoftmaxLanes<W> statistics[kVectors];
  for (auto& lanes : statistics)
    lanes.highest = Lanes<W>{} - static_cast<W>(INFINITY), lanes.mass = Lanes<W>{};
  for (int64_t key = 0; key < end; key += kKeys) {
    const int64_t num_keys = key + kKeys < end ? kKeys : end - key;
    multiply<P>(num_keys, count, z.pairs, memory.keys + key * z.pairs, z.pairs, memory.queries, kQueries,
                false, memory.scores, kQueries);
    for (int64_t lane = 0; lane < count; lane += kLanes<W>) {
      const auto visible = visible_keys<W>(first + lane, key, num_keys, z.T);
      const int64_t seen = num_visible<W>(first + lane, key, num_keys);
      const Lanes<W> factor = rows::softmax_lanes<W>(statistics[lane / kLanes<W>], memory.scores + lane, seen,
                                                     kQueries, scale_of<W>(z.D), visible);
      for (int64_t i = seen; i < num_keys; ++i) store_lanes(Lanes<W>{}, memory.scores + i * kQueries + lane);
      if (key > 0) scale_columns<W>(memory.totals, z.Dp, lane, factor);
    }
    interleave_weights<P>(memory.scores, num_keys, count, memory.weights);
    multiply<P>(z.Dp, count, num_keys / P::kPair, memory.values + key * z.pairs, kKeys / P::kPair,
                memory.weights, kQueries, key > 0, memory.totals, kQueries);
  }
  for (int64_t lane = 0; lane < count; lane += kLanes<W>) {
    const auto& lanes = statistics[lane / kLanes<W>];
    scale_columns<W>(memory.totals, z.Dp, lane, W(1) / lanes.mass);
    for (int i = 0; i < kLanes<W> && first + lane + i < z.T; ++i)
      head.lse[first + lane + i] = lanes.highest[i] + static_cast<W>(__builtin_log(lanes.mass[i]));
  }
  const int64_t num_rows = end < z.T ? count : z.T - first;
  write_columns(memory.totals, z.Dp, count, z.D, num_rows, W(1), reinterpret_cast<W*>(memory.rows),
                head.y + first * shape.y_stride, shape.y_stride);
}

template <class P, class T = typename P::Storage>
void head_forward(const HeadShape& shape, const HeadForward<T>& head, void* memory) {
  const Packed<P> z(shape);
  Shelf shelf(memory);
  const ForwardMemory<P> parts(z, shelf);
  pack_rows<P>(z, head.k, shape.qkv_stride, 0, z.Tp, parts.keys);
  pack_transposed_blocks<P>(z, head.v, shape.qkv_stride, parts.rows, parts.values);
  for (int64_t first = 0; first < z.T; first += kQueries) forward_tile<P>(z, shape, head, parts, first);
}

template <class P>
int64_t forward_bytes(const HeadShape& shape) {
  Shelf shelf(nullptr);
  ForwardMemory<P>(Packed<P>(shape), shelf);
  return shelf.used();
}

// ----------------------------------------------------------------------------------------------------------------
// Backward

template <class P, class W = typename P::W, class Unit = typename P::Unit>
struct BackwardMemory {
  Unit *keys, *values, *keys_transposed;
  Unit *queries, *dy, *query_rows, *dy_rows;
  Unit *weights, *dscores, *dscores_interleaved, *rows;
  W *scores, *dweights, *dquery, *dkey, *dvalue, *lse, *delta;

  GPT2X_HD BackwardMemory(const Packed<P>& z, Shelf& shelf)
      : keys(shelf.template take<Unit>(z.Tp * z.pairs)),                              // (Tp, Dp): K
        values(shelf.template take<Unit>(z.Tp * z.pairs)),                            // (Tp, Dp): V
        keys_transposed(shelf.template take<Unit>(round_up(z.Tp, kKeys) * z.pairs)),  // per block (Dp, kKeys)
        queries(shelf.template take<Unit>(z.pairs * kQueries)),                       // (Dp, kQueries): Q^T
        dy(shelf.template take<Unit>(z.pairs * kQueries)),                            // (Dp, kQueries): dO^T
        query_rows(shelf.template take<Unit>(kQueries / P::kPair * z.Dp)),            // (kQueries, Dp): Q
        dy_rows(shelf.template take<Unit>(kQueries / P::kPair * z.Dp)),               // (kQueries, Dp): dO
        weights(shelf.template take<Unit>(kKeys * kQueries / P::kPair)),  // (kKeys, kQueries): P^T
        dscores(shelf.template take<Unit>(kKeys * kQueries / P::kPair)),  // the same: dS^T
        dscores_interleaved(shelf.template take<Unit>(kKeys / P::kPair * kQueries)),  // as B
        rows(shelf.template take<Unit>(kKeys * z.Dp)),       // before it is transposed
        scores(shelf.template take<W>(kKeys * kQueries)),    // (kKeys, kQueries): S^T
        dweights(shelf.template take<W>(kKeys * kQueries)),  // (kKeys, kQueries): dP^T
        dquery(shelf.template take<W>(z.Dp * kQueries)),     // (Dp, kQueries): dQ^T
        dkey(shelf.template take<W>(z.Tp * z.Dp)),           // (Tp, Dp)
        dvalue(shelf.template take<W>(z.Tp * z.Dp)),         // (Tp, Dp)
        lse(shelf.template take<W>(kQueries)),
        delta(shelf.template take<W>(kQueries)) {}
};

// lse and delta of the queries first..; those from T on are 0.
template <class P, class T, class W = typename P::W>
GPT2X_HD void query_statistics(const Packed<P>& z, const HeadShape& shape, const HeadBackward<T>& head,
                               int64_t first, int64_t count, const BackwardMemory<P>& memory) {
  for (int64_t i = 0; i < count; ++i) {
    const bool is_token = first + i < z.T;
    W delta = 0;
    if (is_token) {
      const T *y = head.y + (first + i) * shape.y_stride, *dy = head.dy + (first + i) * shape.y_stride;
      GPT2X_SIMD_SUM(delta)
      for (int64_t d = 0; d < z.D; ++d) delta += rows::to_accumulation(y[d]) * rows::to_accumulation(dy[d]);
    }
    memory.lse[i] = is_token ? head.lse[first + i] : W(0);
    memory.delta[i] = delta;
  }
}

// From S^T and dP^T of a tile: P^T and dS^T as rows of A, dS^T also as rows of B.
template <class P, class W = typename P::W>
GPT2X_HD void softmax_backward_tile(const Packed<P>& z, const BackwardMemory<P>& memory, int64_t first,
                                    int64_t count, int64_t first_key, int64_t num_keys) {
  const W scale = scale_of<W>(z.D);
  for (int64_t lane = 0; lane < count; lane += kLanes<W>) {
    const auto visible = visible_keys<W>(first + lane, first_key, num_keys, z.T);
    const Lanes<W> lse = load_lanes<W>(memory.lse + lane), delta = load_lanes<W>(memory.delta + lane);
    const int64_t seen = num_visible<W>(first + lane, first_key, num_keys);
    for (int64_t key = 0; key < num_keys; key += P::kPair) {
      Lanes<W> weights[P::kPair] = {}, dscores[P::kPair] = {};
      for (int i = 0; i < P::kPair; ++i) {
        const int64_t place = (key + i) * kQueries + lane;
        if (key < seen) {
          weights[i] = load_lanes<W>(memory.scores + place),
          dscores[i] = load_lanes<W>(memory.dweights + place);
          rows::softmax_backward_lanes<W>(weights[i], dscores[i], key + i, scale, lse, delta, visible);
        }
        P::store_row(weights[i], memory.weights + place / P::kPair);
        P::store_row(dscores[i], memory.dscores + place / P::kPair);
      }
      P::store_interleaved(dscores, memory.dscores_interleaved + key / P::kPair * kQueries + lane);
    }
  }
}

template <class P, class T, class W = typename P::W>
GPT2X_HD void backward_tile(const Packed<P>& z, const HeadShape& shape, const HeadBackward<T>& head,
                            const BackwardMemory<P>& memory, int64_t first) {
  const int64_t count = first + kQueries < z.Tp ? kQueries : z.Tp - first, end = first + count;
  pack_columns<P>(z, head.q, shape.qkv_stride, first, count, memory.rows, memory.queries);
  pack_columns<P>(z, head.dy, shape.y_stride, first, count, memory.rows, memory.dy);
  pack_interleaved<P>(z, head.q, shape.qkv_stride, first, count, memory.query_rows);
  pack_interleaved<P>(z, head.dy, shape.y_stride, first, count, memory.dy_rows);
  query_statistics<P>(z, shape, head, first, count, memory);
  for (int64_t key = 0; key < end; key += kKeys) {
    const int64_t num_keys = key + kKeys < end ? kKeys : end - key;
    multiply<P>(num_keys, count, z.pairs, memory.keys + key * z.pairs, z.pairs, memory.queries, kQueries,
                false, memory.scores, kQueries);
    multiply<P>(num_keys, count, z.pairs, memory.values + key * z.pairs, z.pairs, memory.dy, kQueries, false,
                memory.dweights, kQueries);
    softmax_backward_tile<P>(z, memory, first, count, key, num_keys);
    const bool add = key < first;  // the queries of an earlier tile have met these keys
    multiply<P>(num_keys, z.Dp, count / P::kPair, memory.weights, kQueries / P::kPair, memory.dy_rows, z.Dp,
                add, memory.dvalue + key * z.Dp, z.Dp);
    multiply<P>(num_keys, z.Dp, count / P::kPair, memory.dscores, kQueries / P::kPair, memory.query_rows,
                z.Dp, add, memory.dkey + key * z.Dp, z.Dp);
    multiply<P>(z.Dp, count, num_keys / P::kPair, memory.keys_transposed + key * z.pairs, kKeys / P::kPair,
                memory.dscores_interleaved, kQueries, key > 0, memory.dquery, kQueries);
  }
  const int64_t num_rows = end < z.T ? count : z.T - first;
  write_columns(memory.dquery, z.Dp, count, z.D, num_rows, scale_of<W>(z.D),
                reinterpret_cast<W*>(memory.rows), head.dq + first * shape.qkv_stride, shape.qkv_stride);
}

template <class T, class W>
GPT2X_HD void write_rows(const W* rows, int64_t count, int64_t Dp, int64_t D, W scale, T* to,
                         int64_t stride) {
  for (int64_t i = 0; i < count; ++i) {
    GPT2X_SIMD
    for (int64_t d = 0; d < D; ++d) to[i * stride + d] = rows::to_storage<T>(rows[i * Dp + d] * scale);
  }
}

template <class P, class T = typename P::Storage, class W = typename P::W>
void head_backward(const HeadShape& shape, const HeadBackward<T>& head, void* memory) {
  static_assert(kQueries == kKeys,
                "a tile's first queries meet the keys of its own block for the first time");
  const Packed<P> z(shape);
  Shelf shelf(memory);
  const BackwardMemory<P> parts(z, shelf);
  pack_rows<P>(z, head.k, shape.qkv_stride, 0, z.Tp, parts.keys);
  pack_rows<P>(z, head.v, shape.qkv_stride, 0, z.Tp, parts.values);
  pack_transposed_blocks<P>(z, head.k, shape.qkv_stride, parts.rows, parts.keys_transposed);
  for (int64_t first = 0; first < z.T; first += kQueries) backward_tile<P>(z, shape, head, parts, first);
  write_rows(parts.dkey, z.T, z.Dp, z.D, scale_of<W>(z.D), head.dk, shape.qkv_stride);
  write_rows(parts.dvalue, z.T, z.Dp, z.D, W(1), head.dv, shape.qkv_stride);
}

template <class P>
int64_t backward_bytes(const HeadShape& shape) {
  Shelf shelf(nullptr);
  BackwardMemory<P>(Packed<P>(shape), shelf);
  return shelf.used();
}

template <class P>
AttentionKernels<typename P::Storage> attention_of() {
  return {forward_bytes<P>, head_forward<P>, backward_bytes<P>, head_backward<P>};
}

}  // namespace
}  // namespace gpt2x::cpu
