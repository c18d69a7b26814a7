// One token's queries and keys, made ready for attention head by head, and the gradient of that:
//   n = x / sqrt(mean(x²) + epsilon)               QK-norm
//   y_i = n_i cos_i + n_p(i) sin_i                 rotary positions; p(i) is i + D/2 or i - D/2
// Either may be left out. cos and sin are D numbers each, those of the token's position; sin has the signs of
// the rotation in it (a minus in its first half), so that both halves of a head are one formula.
//
// Backward: g_i = dy_i cos_i + dy_p(i) sin_p(i), the transposed rotation, and dx is RMSNorm's gradient of g,
//   dx = (g - x mean(g x) / (mean(x²) + epsilon)) / sqrt(mean(x²) + epsilon)
// The statistics are computed again from x, which costs less than reading them.
#pragma once

#include <limits>

#include "pack.h"

namespace gpt2x::rows {

// Of one token, all in the accumulation dtype; null where positions are not rotary.
template <class W>
struct Rotation {
  const W *cos, *sin;
};

template <class W>
GPT2X_HD W inverse_rms(W squares, int64_t D) {
  constexpr W kEpsilon =
      std::numeric_limits<W>::epsilon();  // what torch's rms_norm adds unless told otherwise
  return W(1) / static_cast<W>(sqrt(squares / static_cast<W>(D) + kEpsilon));
}

template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD void head_qk_norm_rotary(const Team& team, const T* x, const Rotation<W>& rotation, int64_t D,
                                  bool qk_norm, T* y) {
  W scale = 1;
  if (qk_norm) {
    const auto square = [](T element) { return to_accumulation(element) * to_accumulation(element); };
    scale = inverse_rms(team.sum(sum_each<W>(team, D, square, In<T>{x})), D);
  }
  if (rotation.cos == nullptr) {
    const auto normalise = [=](T element, T& out) { out = to_storage<T>(to_accumulation(element) * scale); };
    each(team, D, normalise, In<T>{x}, Out<T>{y});
    return;
  }
  const int64_t half = D / 2;
  const auto rotate = [=](T first, T second, W cos1, W cos2, W sin1, W sin2, T& out1, T& out2) {
    const W n1 = to_accumulation(first) * scale, n2 = to_accumulation(second) * scale;
    out1 = to_storage<T>(n1 * cos1 + n2 * sin1);
    out2 = to_storage<T>(n2 * cos2 + n1 * sin2);
  };
  each(team, half, rotate, In<T>{x}, In<T>{x + half}, In<W>{rotation.cos}, In<W>{rotation.cos + half},
       In<W>{rotation.sin}, In<W>{rotation.sin + half}, Out<T>{y}, Out<T>{y + half});
}

template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD void head_norm_backward(const Team& team, const T* dy, const T* x, int64_t D, T* dx) {
  const auto add_up = [](T d, T element) -> Two<W> {
    const W n = to_accumulation(element);
    return {n * n, to_accumulation(d) * n};
  };
  const Two<W> sums = two_sums_each<W>(team, D, add_up, In<T>{dy}, In<T>{x});
  const W scale = inverse_rms(team.sum(sums.first), D);
  const W along = team.sum(sums.second) / static_cast<W>(D) * scale * scale;
  const auto pass_on = [=](T d, T element, T& out) {
    out = to_storage<T>(scale * (to_accumulation(d) - to_accumulation(element) * along));
  };
  each(team, D, pass_on, In<T>{dy}, In<T>{x}, Out<T>{dx});
}

// Both halves of g from both of dy.
template <class W>
GPT2X_HD Two<W> unrotate(W dy1, W dy2, W cos1, W cos2, W sin1, W sin2) {
  return {dy1 * cos1 + dy2 * sin2, dy2 * cos2 + dy1 * sin1};
}

template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD void head_rotary_backward(const Team& team, const T* dy, const Rotation<W>& rotation, int64_t D,
                                   T* dx) {
  const int64_t half = D / 2;
  const auto pass_on = [](T dy1, T dy2, W cos1, W cos2, W sin1, W sin2, T& out1, T& out2) {
    const Two<W> g = unrotate(to_accumulation(dy1), to_accumulation(dy2), cos1, cos2, sin1, sin2);
    out1 = to_storage<T>(g.first);
    out2 = to_storage<T>(g.second);
  };
  each(team, half, pass_on, In<T>{dy}, In<T>{dy + half}, In<W>{rotation.cos}, In<W>{rotation.cos + half},
       In<W>{rotation.sin}, In<W>{rotation.sin + half}, Out<T>{dx}, Out<T>{dx + half});
}

template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD void head_qk_norm_rotary_backward(const Team& team, const T* dy, const T* x,
                                           const Rotation<W>& rotation, int64_t D, T* dx) {
  const int64_t half = D / 2;
  const In<T> dy_first{dy}, dy_second{dy + half}, first{x}, second{x + half};
  const In<W> cos_first{rotation.cos}, cos_second{rotation.cos + half};
  const In<W> sin_first{rotation.sin}, sin_second{rotation.sin + half};
  const auto add_up = [](T dy1, T dy2, T x1, T x2, W cos1, W cos2, W sin1, W sin2) -> Two<W> {
    const W n1 = to_accumulation(x1), n2 = to_accumulation(x2);
    const Two<W> g = unrotate(to_accumulation(dy1), to_accumulation(dy2), cos1, cos2, sin1, sin2);
    return {n1 * n1 + n2 * n2, g.first * n1 + g.second * n2};
  };
  const Two<W> sums = two_sums_each<W>(team, half, add_up, dy_first, dy_second, first, second, cos_first,
                                       cos_second, sin_first, sin_second);
  const W scale = inverse_rms(team.sum(sums.first), D);
  const W along = team.sum(sums.second) / static_cast<W>(D) * scale * scale;
  const auto pass_on = [=](T dy1, T dy2, T x1, T x2, W cos1, W cos2, W sin1, W sin2, T& out1, T& out2) {
    const Two<W> g = unrotate(to_accumulation(dy1), to_accumulation(dy2), cos1, cos2, sin1, sin2);
    out1 = to_storage<T>(scale * (g.first - to_accumulation(x1) * along));
    out2 = to_storage<T>(scale * (g.second - to_accumulation(x2) * along));
  };
  each(team, half, pass_on, dy_first, dy_second, first, second, cos_first, cos_second, sin_first, sin_second,
       Out<T>{dx}, Out<T>{dx + half});
}

// x (3 H D): H queries, H keys and the values of one token, which go on as they are -> y (3 H D).
template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD void qk_norm_rotary_row(const Team& team, const T* x, const Rotation<W>& rotation, int64_t H,
                                 int64_t D, bool qk_norm, T* y) {
  const int64_t num_prepared = 2 * H * D;
  for (int64_t i = 0; i < num_prepared; i += D) {
    head_qk_norm_rotary(team, x + i, rotation, D, qk_norm, y + i);
  }
  each(team, H * D, [](T value, T& out) { out = value; }, In<T>{x + num_prepared}, Out<T>{y + num_prepared});
}

// The gradient of that from dy (3 H D) and, where there is a norm, x; null where there is none.
template <class Team, class T, class W = Accumulation<T>>
GPT2X_HD void qk_norm_rotary_backward_row(const Team& team, const T* dy, const T* x,
                                          const Rotation<W>& rotation, int64_t H, int64_t D, T* dx) {
  const int64_t num_prepared = 2 * H * D;
  int64_t num_done = 0;
  if (x == nullptr && rotation.cos != nullptr) {
    for (; num_done < num_prepared; num_done += D)
      head_rotary_backward(team, dy + num_done, rotation, D, dx + num_done);
  } else if (x != nullptr && rotation.cos == nullptr) {
    for (; num_done < num_prepared; num_done += D)
      head_norm_backward(team, dy + num_done, x + num_done, D, dx + num_done);
  } else if (x != nullptr) {
    for (; num_done < num_prepared; num_done += D)
      head_qk_norm_rotary_backward(team, dy + num_done, x + num_done, rotation, D, dx + num_done);
  }
  each(team, 3 * H * D - num_done, [](T d, T& out) { out = d; }, In<T>{dy + num_done}, Out<T>{dx + num_done});
}

}  // namespace gpt2x::rows
