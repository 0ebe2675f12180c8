// The FCDD objective with ground-truth maps: map_loss, pseudo_huber_backward. The objective with labels is in head.cu.
#include "fcdd_loss.cuh"
#include "reduce.cuh"

constexpr int THREADS = 256;

struct MapLossParameters {
  const float *a, *maps;
  float *loss, *da;
  int n, pixels;
};

// The loss of each image, from its upsampled anomaly map A and its ground-truth map g of 0 and 1, and the gradient by A:
// mean(A (1 - g)) + (-log(1 - exp(-mean(A g))) if g has any 1).
//
// Launch: one block of 256 threads per image. Shared memory, static: 128 bytes. Bound: the bytes of A, g and da.
static __device__ __forceinline__ void losses_of_maps(const MapLossParameters& given) {
  kernels_before();
  __shared__ float parts[32];
  const size_t image = (size_t)blockIdx.x * given.pixels;
  float inside = 0.0f, outside = 0.0f, marked = 0.0f;
  for (int i = threadIdx.x; i < given.pixels; i += THREADS) {
    const float value = given.a[image + i], g = given.maps[image + i];
    inside = fmaf(value, g, inside);
    outside = fmaf(value, 1.0f - g, outside);
    if (g > 0.0f) marked = 1.0f;
  }
  inside = block_sum(inside, parts) / (float)given.pixels;
  outside = block_sum(outside, parts) / (float)given.pixels;
  const bool any = block_sum(marked, parts) > 0.0f;
  const Loss found = any ? anomalous_loss(inside) : Loss{0.0f, 0.0f};
  if (threadIdx.x == 0) given.loss[blockIdx.x] = outside + found.value;
  const float per_value = (float)(1.0 / ((double)given.n * given.pixels));
  for (int i = threadIdx.x; i < given.pixels; i += THREADS) {
    const float g = given.maps[image + i];
    given.da[image + i] = ((1.0f - g) + g * found.slope) * per_value;
  }
}
KERNEL(map_loss, MapLossParameters, (THREADS), losses_of_maps)

struct PseudoHuberBackwardParameters {
  const float *z, *da;
  float* dz;
  int len;
};

// dz = da * z / sqrt(z^2 + 1).
//
// Launch: ⌈len / 256⌉ blocks, 256 threads, one value per thread. No shared memory. Bound: the bytes of z, da and dz.
static __device__ __forceinline__ void slopes(const PseudoHuberBackwardParameters& given) {
  kernels_before();
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i < given.len) given.dz[i] = given.da[i] * pseudo_huber_slope(given.z[i]);
}
KERNEL(pseudo_huber_backward, PseudoHuberBackwardParameters, (THREADS), slopes)
