// Kernels that do wrong on purpose, for rehearsals of scripts/gpu-proof: what becomes of the tests after them, and of the time.
#include "portable.cuh"

// Stores a TiB before an allocation: error 700, after which the context is lost.
//
// Launch: one thread.
extern "C" __global__ void planted_out_of_bounds(float* x) {
  kernels_before();
  x[-(1ll << 38)] = 1.0f;
}

// Waits for a flag that nobody sets.
//
// Launch: one thread.
extern "C" __global__ void planted_endless(int* flag) {
  kernels_before();
  volatile int* set = flag;
  while (!*set) {
  }
}
