// The objective of autoencoders: reconstruction, reconstruction_loss. y = z, or 1 / (1 + exp(-z)) with `sigmoid`; the anomaly map is
// (y - x)^2, the score of an image its mean.
#include "reduce.cuh"

constexpr int THREADS = 256;

// Reconstruction, squared errors and scores of images of `length` values.
//
// Launch: one block of 256 threads per image. Shared memory, static: 128 bytes. Bound: the bytes of x, z, y and the map.
extern "C" __global__ void __launch_bounds__(THREADS)
reconstruction(const float* __restrict__ x, const float* __restrict__ z, float* __restrict__ y, float* __restrict__ map, float* score,
               int sigmoid, int length) {
  kernels_before();
  __shared__ float parts[32];
  const size_t image = (size_t)blockIdx.x * length;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < length; i += THREADS) {
    const float value = z[image + i], found = sigmoid ? 1.0f / (1.0f + expf(-value)) : value;
    const float error = found - x[image + i], square = error * error;
    y[image + i] = found;
    map[image + i] = square;
    sum += square;
  }
  sum = block_sum(sum, parts);
  if (threadIdx.x == 0) score[blockIdx.x] = sum / (float)length;
}

// Losses, which are the scores, and the gradient of their mean by z.
//
// Launch: ⌈n · length / 256⌉ blocks, 256 threads, one value per thread. No shared memory. Bound: the bytes of x, y and dz.
extern "C" __global__ void __launch_bounds__(THREADS)
reconstruction_loss(const float* __restrict__ x, const float* __restrict__ y, const float* __restrict__ score, float* loss,
                    float* __restrict__ dz, int sigmoid, int n, int length) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  const size_t values = (size_t)n * length;
  if (index >= values) return;
  if (index < (size_t)n) loss[index] = score[index];
  const float found = y[index], error = (float)(2.0 / (double)values) * (found - x[index]);
  dz[index] = sigmoid ? error * (found * (1.0f - found)) : error;
}
