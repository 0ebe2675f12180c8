// The objective of autoencoders: reconstruction, reconstruction_loss. y = z, or 1 / (1 + exp(-z)) with `sigmoid`; the anomaly map is
// (y - x)^2, the score of an image its mean.
#include "reduce.cuh"

constexpr int THREADS = 256;

struct ReconstructionParameters {
  const float *x, *z;
  float *y, *map, *score;
  int sigmoid, length;
};

// Reconstruction, squared errors and scores of images of `length` values.
//
// Launch: one block of 256 threads per image. Shared memory, static: 128 bytes. Bound: the bytes of x, z, y and the map.
static __device__ __forceinline__ void reconstruct(const ReconstructionParameters& given) {
  kernels_before();
  __shared__ float parts[32];
  const size_t image = (size_t)blockIdx.x * given.length;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < given.length; i += THREADS) {
    const float value = given.z[image + i], found = given.sigmoid ? 1.0f / (1.0f + expf(-value)) : value;
    const float error = found - given.x[image + i], square = error * error;
    given.y[image + i] = found;
    given.map[image + i] = square;
    sum += square;
  }
  sum = block_sum(sum, parts);
  if (threadIdx.x == 0) given.score[blockIdx.x] = sum / (float)given.length;
}
KERNEL(reconstruction, ReconstructionParameters, (THREADS), reconstruct)

struct ReconstructionLossParameters {
  const float *x, *y, *score;
  float *loss, *dz;
  int sigmoid, n, length;
};

// Losses, which are the scores, and the gradient of their mean by z.
//
// Launch: ⌈n · length / 256⌉ blocks, 256 threads, one value per thread. No shared memory. Bound: the bytes of x, y and dz.
static __device__ __forceinline__ void losses(const ReconstructionLossParameters& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  const size_t values = (size_t)given.n * given.length;
  if (index >= values) return;
  if (index < (size_t)given.n) given.loss[index] = given.score[index];
  const float found = given.y[index], error = (float)(2.0 / (double)values) * (found - given.x[index]);
  given.dz[index] = given.sigmoid ? error * (found * (1.0f - found)) : error;
}
KERNEL(reconstruction_loss, ReconstructionLossParameters, (THREADS), losses)
