// Function multiversioning for AVX2.

#pragma once

// Marks a function to be compiled for AVX2, too, which is chosen when the module is loaded; the figures are the same.
// Sanitizers cannot instrument the resolver that does this.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(INTACT_SANITIZE)
#define INTACT_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define INTACT_CLONES
#endif
