// Faulty kernels for rehearsals of scripts/gpu-proof: the other tests must still run, and within the time.
#include "portable.cuh"

// Stores to an address a TiB before an allocation: error 700, after which the context is unusable.
//
// Launch: one thread. No shared memory.
extern "C" __global__ void planted_out_of_bounds(float* x) {
  kernels_before();
  x[-(1ll << 38)] = 1.0f;
}

// Waits for a flag that nobody sets.
//
// Launch: one thread. No shared memory. Never ends.
extern "C" __global__ void planted_endless(int* flag) {
  kernels_before();
  volatile int* set = flag;
  while (!*set) {
  }
}
