// Compiling a file's functions for newer processors than the rest of the library; the caller asks the
// processor before it calls one. cpu/clones.h does this for plain loops, but lowers vector types
// (rows/causal_attention.h) and knows no intrinsics.
//
// Includes of the standard library belong before GPT2X_BEGIN_TARGET: one of its functions compiled in between
// could be the copy that the linker keeps. What stands in between is in an anonymous namespace, for the same
// reason.
#pragma once

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define GPT2X_X86_TARGETS 1
#else
#define GPT2X_X86_TARGETS 0
#endif

#define GPT2X_TARGET_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define GPT2X_BEGIN_TARGET(features) \
  GPT2X_TARGET_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define GPT2X_END_TARGET GPT2X_TARGET_PRAGMA(clang attribute pop)
#else
#define GPT2X_BEGIN_TARGET(features) \
  GPT2X_TARGET_PRAGMA(GCC push_options) GPT2X_TARGET_PRAGMA(GCC target(features))
#define GPT2X_END_TARGET GPT2X_TARGET_PRAGMA(GCC pop_options)
#endif
