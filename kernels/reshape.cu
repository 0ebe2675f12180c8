// Reshape: a vector in PyTorch's order (NCHW) to an NHWC map, and back.
#include "portable.cuh"

constexpr int THREADS = 256;

// y[n, j, i] = x[n, i, j].
//
// Launch: ⌈n · rows · columns / 256⌉ blocks, 256 threads, one value of y per thread. No shared memory. Bound: the bytes of x and y.
extern "C" __global__ void __launch_bounds__(THREADS)
reshape(const float* __restrict__ x, float* __restrict__ y, int n, int rows, int columns) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)n * rows * columns) return;
  const size_t i = index % rows, j = index / rows % columns, image = index / ((size_t)rows * columns);
  y[index] = x[(image * rows + i) * columns + j];
}
