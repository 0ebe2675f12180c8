// Copies memory: to measure the bandwidth of the device, and to evict everything from its caches.
#include "portable.cuh"

constexpr int THREADS = 256;

struct CopyParameters {
  const float* from;
  float* to;
  int quads;
};

// to = from, both [4 * quads], aligned to 16 bytes.
//
// Launch: ⌈quads / 256⌉ blocks, 256 threads, four values per thread. No shared memory. Bound: bytes, each read and written once.
static __device__ __forceinline__ void copy(const CopyParameters& given) {
  kernels_before();
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i < given.quads) reinterpret_cast<float4*>(given.to)[i] = reinterpret_cast<const float4*>(given.from)[i];
}
KERNEL(copy_quads, CopyParameters, (THREADS), copy)
