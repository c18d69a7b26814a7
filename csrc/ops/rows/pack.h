// The loops over a row, whichever team works on it: `each`, `sum_each` and their like hand the elements of
// arrays to a body, and choose how memory is accessed.
//
// On a GPU a lane takes a pack of neighbouring elements in accesses of 128 bits, 8 bfloat16 or 4 float: with
// one bfloat16 a lane a warp asks for 64 bytes at a time, too few to keep memory busy. On the CPU a lane
// takes one element, and the compiler makes vectors of the loop.
//
//   const auto add = [](T from, T plus, T& to) { to = to_storage<T>(to_accumulation(from) +
//   to_accumulation(plus)); }; each(team, C, add, In<T>{x}, In<T>{residual}, Out<T>{sum});
#pragma once

#include <initializer_list>

#include "team.h"

namespace gpt2x::rows {

constexpr int kAccessBytes = 16;

// How many T one 128-bit access holds.
template <class T>
constexpr int kPackOf = kAccessBytes / static_cast<int>(sizeof(T));

// Whether all arrays begin at a multiple of 16 bytes, as packs must (and as a null pointer does).
inline bool aligned_for_packs(std::initializer_list<const void*> arrays) {
  for (const void* array : arrays) {
    if (reinterpret_cast<uintptr_t>(array) % kAccessBytes != 0) return false;
  }
  return true;
}

// K neighbouring elements, in registers.
template <class T, int K>
struct Pack {
  T at[K];
};

// One access or several: 8 float parameters beside 8 bfloat16 activations are two.
template <int K, class T>
GPT2X_HD Pack<T, K> load_pack(const T* from) {
  static_assert(K % kPackOf<T> == 0, "a pack is a whole number of 128-bit accesses");
  Pack<T, K> pack;
#if defined(__CUDA_ARCH__)
#pragma unroll
  for (int k = 0; k < K; k += kPackOf<T>) {
    const uint4 words = *reinterpret_cast<const uint4*>(from + k);
    std::memcpy(pack.at + k, &words, sizeof words);
  }
#else
  std::memcpy(pack.at, from, sizeof pack);
#endif
  return pack;
}

template <int K, class T>
GPT2X_HD void store_pack(const Pack<T, K>& pack, T* to) {
  static_assert(K % kPackOf<T> == 0, "a pack is a whole number of 128-bit accesses");
#if defined(__CUDA_ARCH__)
#pragma unroll
  for (int k = 0; k < K; k += kPackOf<T>) {
    uint4 words;
    std::memcpy(&words, pack.at + k, sizeof words);
    *reinterpret_cast<uint4*>(to + k) = words;
  }
#else
  std::memcpy(to, pack.at, sizeof pack);
#endif
}

// ----------------------------------------------------------------------------------------------------------------
// An array as a body sees it: T where it reads, T& where it writes.

template <class T>
struct In {
  const T* array;
  GPT2X_HD T element(int64_t i) const { return array[i]; }
  template <int K>
  GPT2X_HD Pack<T, K> load(int64_t i) const {
    return load_pack<K>(array + i);
  }
  template <int K>
  GPT2X_HD void store(const Pack<T, K>&, int64_t) const {}
};

// A null array counts as zeros. On the CPU the test leaves the loop only where the body is short: a body with
// an exponential in it must be given a loop without the array instead.
template <class T>
struct InOrZeros {
  const T* array;
  GPT2X_HD T element(int64_t i) const { return array != nullptr ? array[i] : T{}; }
  template <int K>
  GPT2X_HD Pack<T, K> load(int64_t i) const {
    return array != nullptr ? load_pack<K>(array + i) : Pack<T, K>{};
  }
  template <int K>
  GPT2X_HD void store(const Pack<T, K>&, int64_t) const {}
};

// The body writes every element and reads none.
template <class T>
struct Out {
  T* array;
  GPT2X_HD T& element(int64_t i) const { return array[i]; }
  template <int K>
  GPT2X_HD Pack<T, K> load(int64_t) const {
    return {};
  }
  template <int K>
  GPT2X_HD void store(const Pack<T, K>& pack, int64_t i) const {
    store_pack(pack, array + i);
  }
};

template <class T>
struct InOut {
  T* array;
  GPT2X_HD T& element(int64_t i) const { return array[i]; }
  template <int K>
  GPT2X_HD Pack<T, K> load(int64_t i) const {
    return load_pack<K>(array + i);
  }
  template <int K>
  GPT2X_HD void store(const Pack<T, K>& pack, int64_t i) const {
    store_pack(pack, array + i);
  }
};

// ----------------------------------------------------------------------------------------------------------------
// The loops, over the first n elements of the arrays. Whole packs come first, and what is left after them one
// by one; a lane meets the same elements in every loop of the same n.

// How many elements are taken in packs.
template <class Team>
GPT2X_HD int64_t in_packs(int64_t n) {
  return Team::kPack > 1 ? n - n % Team::kPack : 0;
}

template <class Team, class F, class... Arrays>
GPT2X_HD void each_in_packs(const Team& team, int64_t n, const F& body, const Arrays&... arrays) {
  constexpr int K = Team::kPack;
  if constexpr (K > 1) {
    for (int64_t i = team.lane() * K; i < in_packs<Team>(n); i += team.stride() * K) {
      const auto work = [&](auto... packs) {
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
        for (int k = 0; k < K; ++k) body(packs.at[k]...);
        (arrays.store(packs, i), ...);
      };
      work(arrays.template load<K>(i)...);
    }
  }
}

// Calls body for this lane's elements.
template <class Team, class F, class... Arrays>
GPT2X_HD void each(const Team& team, int64_t n, const F& body, const Arrays&... arrays) {
  each_in_packs(team, n, body, arrays...);
  GPT2X_SIMD
  for (int64_t i = in_packs<Team>(n) + team.lane(); i < n; i += team.stride()) body(arrays.element(i)...);
}

// The sum of what body returns for this lane's elements; the caller adds the lanes up.
template <class W, class Team, class F, class... Arrays>
GPT2X_HD W sum_each(const Team& team, int64_t n, const F& body, const Arrays&... arrays) {
  W total = 0;
  each_in_packs(team, n, [&](auto&... elements) { total += body(elements...); }, arrays...);
  GPT2X_SIMD_SUM(total)
  for (int64_t i = in_packs<Team>(n) + team.lane(); i < n; i += team.stride()) {
    total += body(arrays.element(i)...);
  }
  return total;
}

template <class W>
struct Two {
  W first, second;
};

// The same for a body that returns two numbers.
template <class W, class Team, class F, class... Arrays>
GPT2X_HD Two<W> two_sums_each(const Team& team, int64_t n, const F& body, const Arrays&... arrays) {
  W first = 0, second = 0;
  const auto add = [&](auto&... elements) {
    const Two<W> here = body(elements...);
    first += here.first;
    second += here.second;
  };
  each_in_packs(team, n, add, arrays...);
  GPT2X_SIMD_SUM(first, second)
  for (int64_t i = in_packs<Team>(n) + team.lane(); i < n; i += team.stride()) {
    const Two<W> here = body(arrays.element(i)...);
    first += here.first;
    second += here.second;
  }
  return {first, second};
}

template <class W>
struct Four {
  W first, second, third, fourth;
};

// The same for a body that returns four.
template <class W, class Team, class F, class... Arrays>
GPT2X_HD Four<W> four_sums_each(const Team& team, int64_t n, const F& body, const Arrays&... arrays) {
  W first = 0, second = 0, third = 0, fourth = 0;
  const auto add = [&](auto&... elements) {
    const Four<W> here = body(elements...);
    first += here.first;
    second += here.second;
    third += here.third;
    fourth += here.fourth;
  };
  each_in_packs(team, n, add, arrays...);
  GPT2X_SIMD_SUM(first, second, third, fourth)
  for (int64_t i = in_packs<Team>(n) + team.lane(); i < n; i += team.stride()) {
    const Four<W> here = body(arrays.element(i)...);
    first += here.first;
    second += here.second;
    third += here.third;
    fourth += here.fourth;
  }
  return {first, second, third, fourth};
}

// The largest of what body returns for this lane's elements, NaN passed over; -infinity where there is none.
template <class W, class Team, class F, class... Arrays>
GPT2X_HD W max_each(const Team& team, int64_t n, const F& body, const Arrays&... arrays) {
  W highest = -INFINITY;
  const auto compare = [&](auto&... elements) {
    const W x = body(elements...);
    highest = x > highest ? x : highest;
  };
  each_in_packs(team, n, compare, arrays...);
  GPT2X_SIMD_MAX(highest)
  for (int64_t i = in_packs<Team>(n) + team.lane(); i < n; i += team.stride()) {
    const W x = body(arrays.element(i)...);
    highest = x > highest ? x : highest;
  }
  return highest;
}

}  // namespace gpt2x::rows
