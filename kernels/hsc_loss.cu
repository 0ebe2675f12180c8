// The objective of hypersphere classification (HSC): hsc_score, hsc_loss, gradient_heatmap. The score of an image with the output vector o
// is s = sqrt(sum(o^2) + 1) - 1, computed without cancellation as sum(o^2) / (sqrt(sum(o^2) + 1) + 1).
#include "fcdd_loss.cuh"
#include "reduce.cuh"

constexpr int THREADS = 256;

// Scores, from vectors o of `length` values.
//
// Launch: one block of 256 threads per image. Shared memory, static: 128 bytes. Bound: the bytes of o.
extern "C" __global__ void __launch_bounds__(THREADS) hsc_score(const float* __restrict__ o, float* score, int length) {
  kernels_before();
  __shared__ float parts[32];
  const float* vector = o + (size_t)blockIdx.x * length;
  float square = 0.0f;
  for (int i = threadIdx.x; i < length; i += THREADS) square = fmaf(vector[i], vector[i], square);
  square = block_sum(square, parts);
  if (threadIdx.x == 0) score[blockIdx.x] = square / (sqrtf(square + 1.0f) + 1.0f);
}

// Losses, and the gradient of their mean by o; without labels (null) the gradient of each image's own score.
//
// Launch: ⌈n · length / 256⌉ blocks, 256 threads, one value of o per thread. No shared memory. Bound: the bytes of o and its gradient.
extern "C" __global__ void __launch_bounds__(THREADS)
hsc_loss(const float* __restrict__ o, const float* __restrict__ score, const float* __restrict__ labels, float* loss, float* d_o, int n,
         int length) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)n * length) return;
  const int image = index / length;
  const float s = score[image];
  float slope = 1.0f;
  if (labels) {
    const Loss found = labels[image] > 0.0f ? anomalous_loss(s) : Loss{s, 1.0f};
    if (index % length == 0) loss[image] = found.value;
    slope = found.slope * (float)(1.0 / n);
  }
  d_o[index] = slope / (s + 1.0f) * o[index];
}

// Heatmaps: the sum over the channels of |dx|, or of |x dx| where x is given (not null).
//
// Launch: ⌈pixels / 256⌉ blocks, 256 threads, one pixel per thread. No shared memory. Bound: the bytes of x and dx.
extern "C" __global__ void __launch_bounds__(THREADS)
gradient_heatmap(const float* __restrict__ x, const float* __restrict__ dx, float* __restrict__ heatmap, int pixels, int c) {
  kernels_before();
  const size_t pixel = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (pixel >= (size_t)pixels) return;
  float sum = 0.0f;
  for (int i = 0; i < c; i++) {
    const float d = dx[pixel * c + i];
    sum += fabsf(x ? x[pixel * c + i] * d : d);
  }
  heatmap[pixel] = sum;
}
