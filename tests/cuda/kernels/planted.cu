// Faulty kernels for rehearsals of scripts/gpu-proof: the other tests must still run, and within the time.
#include "portable.cuh"

struct OutOfBoundsParameters {
  float* x;
};
// Stores to an address a TiB before an allocation: error 700, after which the context is unusable.
//
// Launch: one thread. No shared memory.
__device__ __forceinline__ void out_of_bounds(const OutOfBoundsParameters& given) {
  kernels_before();
  given.x[-(1ll << 38)] = 1.0f;
}
KERNEL(planted_out_of_bounds, OutOfBoundsParameters, (1024), out_of_bounds)

struct EndlessParameters {
  int* flag;
};
// Waits for a flag that nobody sets.
//
// Launch: one thread. No shared memory. Never ends.
__device__ __forceinline__ void endless(const EndlessParameters& given) {
  kernels_before();
  volatile int* set = given.flag;
  while (!*set) {
  }
}
KERNEL(planted_endless, EndlessParameters, (1024), endless)
