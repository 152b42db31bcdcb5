#pragma once

// CUDA's keywords as plain C++.

#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __forceinline__ __inline__ __attribute__((always_inline))

// A block runs on one OS thread, so what the block's threads share is what is local to that thread.
// thread_local is static at block scope and may follow `extern`, exactly as __shared__ may. constinit
// spares gcc a guard variable beside each array of class type; clang wants an initialiser for it and needs
// none of that.
#if defined(__clang__)
#define __shared__ thread_local
#else
#define __shared__ constinit thread_local
#endif
