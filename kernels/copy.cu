// Copies memory: to measure the bandwidth of the device, and to evict everything from its caches.
#include "portable.cuh"

constexpr int THREADS = 256;

// to = from, both [4 * quads], aligned to 16 bytes.
//
// Launch: ⌈quads / 256⌉ blocks, 256 threads, four values per thread. No shared memory. Bound: bytes, each read and written once.
extern "C" __global__ void __launch_bounds__(THREADS) copy_quads(const float* __restrict__ from, float* __restrict__ to, int quads) {
  kernels_before();
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i < quads) reinterpret_cast<float4*>(to)[i] = reinterpret_cast<const float4*>(from)[i];
}
