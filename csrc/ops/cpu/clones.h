// Compiles a function for several instruction sets; the loader picks one when the library is loaded.
//
// What ships is never built with -march=native: x86-64-v4 is AVX-512, v3 is AVX2 with FMA. Where the compiler
// or the loader knows no clones, the function is compiled once. `flatten` inlines what the function calls,
// the bodies of its loops (rows/pack.h), so that each clone compiles its own copy of these too.
#pragma once

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && \
    __GNUC__ >= 12
#define GPT2X_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), flatten))
#else
#define GPT2X_CLONES __attribute__((flatten))
#endif
