// Reshape: a vector in PyTorch's order (NCHW) to an NHWC map, and back.
#include "portable.cuh"

constexpr int THREADS = 256;

struct ReshapeParameters {
  const float* x;
  float* y;
  int n, rows, columns;
};

// y[n, j, i] = x[n, i, j].
//
// Launch: ⌈n · rows · columns / 256⌉ blocks, 256 threads, one value of y per thread. No shared memory. Bound: the bytes of x and y.
static __device__ __forceinline__ void transpose(const ReshapeParameters& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.n * given.rows * given.columns) return;
  const size_t i = index % given.rows, j = index / given.rows % given.columns, image = index / ((size_t)given.rows * given.columns);
  given.y[index] = given.x[(image * given.rows + i) * given.columns + j];
}
KERNEL(reshape, ReshapeParameters, (THREADS), transpose)
