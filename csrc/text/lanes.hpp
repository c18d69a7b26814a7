// Floats that are computed with at once, by the compiler's vectors.
#pragma once

#include <cstddef>

// More versions of a function, for processors with AVX2 and AVX-512, chosen when the module is loaded. All
// give the same numbers: the build forbids fused multiply-adds (-ffp-contract=off), which AVX-512 has.
// ThreadSanitizer gets one version: its runtime is not up yet when the choice is made.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__) && \
    !defined(__SANITIZE_THREAD__)
#define GPT2X_TEXT_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define GPT2X_TEXT_CLONES
#endif

namespace gpt2x::text {

inline constexpr int kLanes = 16;

using Lanes =
    float __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));  // anywhere floats may stand

// `count` classes rounded up to whole lanes.
inline size_t padded(size_t count) {
  return (count + kLanes - 1) / kLanes * kLanes;
}

}  // namespace gpt2x::text
