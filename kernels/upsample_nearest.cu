// Nearest-neighbour upsampling by two of maps [n, side, side, c], and its gradient. The arithmetic is that of the CPU, so the bits are the
// same.
//
// Launch of both: ⌈values written / 256⌉ blocks, 256 threads, one value per thread. No shared memory. Bound: the bytes of the large maps.
#include "portable.cuh"

constexpr int THREADS = 256;

// y[n, i, j, c] = x[n, i / 2, j / 2, c].
extern "C" __global__ void __launch_bounds__(THREADS)
upsample_nearest(const float* __restrict__ x, float* __restrict__ y, int n, int side, int c) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  const int large = 2 * side;
  if (index >= (size_t)n * large * large * c) return;
  const int channel = index % c;
  const size_t pixel = index / c;
  const int j = pixel % large, i = pixel / large % large;
  const size_t image = pixel / ((size_t)large * large);
  y[index] = x[((image * side + i / 2) * side + j / 2) * c + channel];
}

// dx[n, i, j, c] = the sum of dy over rows 2 i, 2 i + 1 and columns 2 j, 2 j + 1.
extern "C" __global__ void __launch_bounds__(THREADS)
upsample_nearest_backward(const float* __restrict__ dy, float* __restrict__ dx, int n, int side, int c) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)n * side * side * c) return;
  const int channel = index % c;
  const size_t pixel = index / c;
  const int j = pixel % side;
  const size_t row = pixel / side;  // counted through all images
  const float* upper = dy + (2 * row * 2 * side + 2 * j) * c + channel;
  const float* lower = upper + (size_t)2 * side * c;
  dx[index] = (upper[0] + upper[c]) + (lower[0] + lower[c]);
}
