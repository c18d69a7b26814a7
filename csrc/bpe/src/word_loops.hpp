// Making keys and looking them up, for many pieces at once: see Kernels for what these do. In an anonymous
// namespace since it is compiled several times (see target.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels.hpp"

namespace gpt2x::bpe {
namespace {

template <typename Id>
std::size_t make_probes(PieceRun& run, typename Words<Id>::Buckets buckets, std::span<Probe<Id>> probes) {
  using Key = typename Words<Id>::Key;
  // Local copies: what is stored to `probes` cannot change them.
  const char* start = run.start;
  const char* const base = run.base;
  const char* const readable_end = run.readable_end;
  const std::uint32_t* next = run.ends.data();
  const std::size_t most = run.ends.size() < probes.size() ? run.ends.size() : probes.size();
  const std::uint32_t* const last = next + most;
  Probe<Id>* probe = probes.data();
  for (; next != last; ++next, ++probe) {
    const char* const end = base + *next;
    const auto size = static_cast<std::size_t>(end - start);
    if (size > Key::kMaxBytes || start > readable_end) [[unlikely]]
      break;
    const Key key = Key::from_readable(start, size);
    typename Words<Id>::Entry* const bucket = buckets[key.hash()];
    __builtin_prefetch(bucket);
    probe->key = key;
    probe->bucket = bucket;
    probe->end = end;
    start = end;
  }
  run.start = start;
  run.ends = run.ends.subspan(static_cast<std::size_t>(next - run.ends.data()));
  return static_cast<std::size_t>(probe - probes.data());
}

template <typename Id>
std::size_t look_up(std::span<const Probe<Id>> probes, TokenId*& out) {
  TokenId* behind = out;
  const Probe<Id>* probe = probes.data();
  const Probe<Id>* const end = probe + probes.size();
  for (; probe != end && probe->bucket->key.difference(probe->key) == 0; ++probe) {
    behind = probe->bucket->write_to(behind);
  }
  out = behind;
  return static_cast<std::size_t>(probe - probes.data());
}

template <typename Id>
constexpr WordKernels<Id> kWordKernels{make_probes<Id>, look_up<Id>};

}  // namespace
}  // namespace gpt2x::bpe
