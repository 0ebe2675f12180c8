// The FCDD objective with ground-truth maps: map_loss, pseudo_huber_backward. The objective with labels is in head.cu.
#include "fcdd_loss.cuh"
#include "reduce.cuh"

constexpr int THREADS = 256;

// The loss of each image, from its upsampled anomaly map A and its ground-truth map g of 0 and 1, and the gradient by A:
// mean(A (1 - g)) + (-log(1 - exp(-mean(A g))) if g has any 1).
//
// Launch: one block of 256 threads per image. Shared memory, static: 128 bytes. Bound: the bytes of A, g and da.
extern "C" __global__ void __launch_bounds__(THREADS)
map_loss(const float* __restrict__ a, const float* __restrict__ maps, float* loss, float* da, int n, int pixels) {
  kernels_before();
  __shared__ float parts[32];
  const size_t image = (size_t)blockIdx.x * pixels;
  float inside = 0.0f, outside = 0.0f, marked = 0.0f;
  for (int i = threadIdx.x; i < pixels; i += THREADS) {
    const float value = a[image + i], g = maps[image + i];
    inside = fmaf(value, g, inside);
    outside = fmaf(value, 1.0f - g, outside);
    if (g > 0.0f) marked = 1.0f;
  }
  inside = block_sum(inside, parts) / (float)pixels;
  outside = block_sum(outside, parts) / (float)pixels;
  const bool any = block_sum(marked, parts) > 0.0f;
  const Loss found = any ? anomalous_loss(inside) : Loss{0.0f, 0.0f};
  if (threadIdx.x == 0) loss[blockIdx.x] = outside + found.value;
  const float per_value = (float)(1.0 / ((double)n * pixels));
  for (int i = threadIdx.x; i < pixels; i += THREADS) {
    const float g = maps[image + i];
    da[image + i] = ((1.0f - g) + g * found.slope) * per_value;
  }
}

// dz = da * z / sqrt(z^2 + 1).
//
// Launch: ⌈len / 256⌉ blocks, 256 threads, one value per thread. No shared memory. Bound: the bytes of z, da and dz.
extern "C" __global__ void __launch_bounds__(THREADS)
pseudo_huber_backward(const float* __restrict__ z, const float* __restrict__ da, float* dz, int len) {
  kernels_before();
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i < len) dz[i] = da[i] * pseudo_huber_slope(z[i]);
}
