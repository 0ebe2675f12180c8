// Gradient of a convolution's bias, for both precisions.
#pragma once
#include "conv_parameters.cuh"

static __device__ __forceinline__ float to_float(float f) { return f; }

// sums[part · part_length + k] = Σ dy[pixel, k] over the pixels of part blockIdx.y, for the 256 channels of blockIdx.x. The 256 threads
// form as many rows of one thread per channel as fit; the rows take the pixels in turn, and their sums are added in order.
template <class Element>
__device__ __forceinline__ void bias_share(const WgradBiasParameters<Element>& given) {
  kernels_before();
  __shared__ float shared[256];
  const int first = blockIdx.x * 256, width = min(given.k - first, 256), rows = 256 / width;
  const int row = threadIdx.x / width, column = threadIdx.x % width;
  const int begin = blockIdx.y * given.parts.part_pixels, end = min(given.pixels - begin, given.parts.part_pixels) + begin;
  float sum = 0.0f;
  if (row < rows)
    for (int pixel = begin + row; pixel < end; pixel += rows) sum += to_float(given.dy[(size_t)pixel * given.k + first + column]);
  shared[threadIdx.x] = sum;
  __syncthreads();
  if (row > 0) return;
  for (int i = 1; i < rows; i++) sum += shared[i * width + column];
  given.parts.sums[(size_t)blockIdx.y * given.parts.part_length + first + column] = sum;
}
