// Nearest-neighbour upsampling by two of maps [n, side, side, c], and its gradient. The arithmetic is that of the CPU, so the bits are the
// same.
//
// Launch of both: ⌈values written / 256⌉ blocks, 256 threads, one value per thread. No shared memory. Bound: the bytes of the large maps.
#include "portable.cuh"

constexpr int THREADS = 256;

struct UpsampleNearestParameters {
  const float* x;
  float* y;
  int n, side, c;
};

struct UpsampleNearestBackwardParameters {
  const float* dy;
  float* dx;
  int n, side, c;
};

// y[n, i, j, c] = x[n, i / 2, j / 2, c].
static __device__ __forceinline__ void repeat(const UpsampleNearestParameters& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  const int large = 2 * given.side;
  if (index >= (size_t)given.n * large * large * given.c) return;
  const int channel = index % given.c;
  const size_t pixel = index / given.c;
  const int j = pixel % large, i = pixel / large % large;
  const size_t image = pixel / ((size_t)large * large);
  given.y[index] = given.x[((image * given.side + i / 2) * given.side + j / 2) * given.c + channel];
}
KERNEL(upsample_nearest, UpsampleNearestParameters, (THREADS), repeat)

// dx[n, i, j, c] = the sum of dy over rows 2 i, 2 i + 1 and columns 2 j, 2 j + 1.
static __device__ __forceinline__ void add_up(const UpsampleNearestBackwardParameters& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.n * given.side * given.side * given.c) return;
  const int channel = index % given.c;
  const size_t pixel = index / given.c;
  const int j = pixel % given.side;
  const size_t row = pixel / given.side;  // counted through all images
  const float* upper = given.dy + (2 * row * 2 * given.side + 2 * j) * given.c + channel;
  const float* lower = upper + (size_t)2 * given.side * given.c;
  given.dx[index] = (upper[0] + upper[given.c]) + (lower[0] + lower[given.c]);
}
KERNEL(upsample_nearest_backward, UpsampleNearestBackwardParameters, (THREADS), add_up)
