// Copies memory: measures the bandwidth of the device, and leaves nothing of what was in its caches.
//
// One thread per four values; bound by bytes: each is read and written once.
#include "portable.cuh"

constexpr int THREADS = 256;

// from, to [4 * quads], aligned to 16 bytes.
extern "C" __global__ void __launch_bounds__(THREADS) copy_quads(const float* __restrict__ from, float* __restrict__ to, int quads) {
  kernels_before();
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i < quads) reinterpret_cast<float4*>(to)[i] = reinterpret_cast<const float4*>(from)[i];
}
