// Kernels that use the dialect as it is meant; tests/plain.rs compares each with what it should compute.
#include "ptx.cuh"

extern "C" __global__ void basic_saxpy(const float* __restrict__ x, float* __restrict__ y, float a, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[i] = fmaf(a, x[i], y[i]);
}
