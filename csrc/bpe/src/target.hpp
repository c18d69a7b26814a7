// Compiling a few functions for newer processors than the rest of the program, and choosing at run time.
//
// Everything between GPT2X_BEGIN_TARGET and GPT2X_END_TARGET may use the named instructions. Includes belong
// before it: a function of the standard library compiled in between could be the copy that the linker keeps
// for the whole program, and would then fail on older processors. For the same reason, what stands in between
// must be in an anonymous namespace or carry a name of its own.
#pragma once

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define GPT2X_X86_TARGETS 1
#else
#define GPT2X_X86_TARGETS 0
#endif

#define GPT2X_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define GPT2X_BEGIN_TARGET(features) \
  GPT2X_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define GPT2X_END_TARGET GPT2X_PRAGMA(clang attribute pop)
#else
#define GPT2X_BEGIN_TARGET(features) GPT2X_PRAGMA(GCC push_options) GPT2X_PRAGMA(GCC target(features))
#define GPT2X_END_TARGET GPT2X_PRAGMA(GCC pop_options)
#endif
