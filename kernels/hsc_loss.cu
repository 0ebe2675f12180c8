// The objective of hypersphere classification (HSC): hsc_score, hsc_loss, gradient_heatmap. The score of an image with the output vector o
// is s = sqrt(sum(o^2) + 1) - 1, computed without cancellation as sum(o^2) / (sqrt(sum(o^2) + 1) + 1).
#include "fcdd_loss.cuh"
#include "reduce.cuh"

constexpr int THREADS = 256;

struct HscScoreParameters {
  const float* o;
  float* score;
  int length;
};

// Scores, from vectors o of `length` values.
//
// Launch: one block of 256 threads per image. Shared memory, static: 128 bytes. Bound: the bytes of o.
static __device__ __forceinline__ void scores(const HscScoreParameters& given) {
  kernels_before();
  __shared__ float parts[32];
  const float* vector = given.o + (size_t)blockIdx.x * given.length;
  float square = 0.0f;
  for (int i = threadIdx.x; i < given.length; i += THREADS) square = fmaf(vector[i], vector[i], square);
  square = block_sum(square, parts);
  if (threadIdx.x == 0) given.score[blockIdx.x] = square / (sqrtf(square + 1.0f) + 1.0f);
}
KERNEL(hsc_score, HscScoreParameters, (THREADS), scores)

struct HscLossParameters {
  const float *o, *score, *labels;
  float *loss, *d_o;
  int n, length;
};

// Losses, and the gradient of their mean by o; without labels (null) the gradient of each image's own score.
//
// Launch: ⌈n · length / 256⌉ blocks, 256 threads, one value of o per thread. No shared memory. Bound: the bytes of o and its gradient.
static __device__ __forceinline__ void losses(const HscLossParameters& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.n * given.length) return;
  const int image = index / given.length;
  const float s = given.score[image];
  float slope = 1.0f;
  if (given.labels) {
    const Loss found = given.labels[image] > 0.0f ? anomalous_loss(s) : Loss{s, 1.0f};
    if (index % given.length == 0) given.loss[image] = found.value;
    slope = found.slope * (float)(1.0 / given.n);
  }
  given.d_o[index] = slope / (s + 1.0f) * given.o[index];
}
KERNEL(hsc_loss, HscLossParameters, (THREADS), losses)

struct GradientHeatmapParameters {
  const float *x, *dx;
  float* heatmap;
  int pixels, c;
};

// Heatmaps: the sum over the channels of |dx|, or of |x dx| where x is given (not null).
//
// Launch: ⌈pixels / 256⌉ blocks, 256 threads, one pixel per thread. No shared memory. Bound: the bytes of x and dx.
static __device__ __forceinline__ void sum_of_channels(const GradientHeatmapParameters& given) {
  kernels_before();
  const size_t pixel = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (pixel >= (size_t)given.pixels) return;
  float sum = 0.0f;
  for (int i = 0; i < given.c; i++) {
    const float d = given.dx[pixel * given.c + i];
    sum += fabsf(given.x ? given.x[pixel * given.c + i] * d : d);
  }
  given.heatmap[pixel] = sum;
}
KERNEL(gradient_heatmap, GradientHeatmapParameters, (THREADS), sum_of_channels)
