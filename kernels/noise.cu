// Noise per value, one colour per image, and outlier images as noise: `src/data/anomaly/{gaussian,uniform,solid,outliers}.rs`.
//
// Each kernel fills `noise` (for each image `len` = side² · channels values, NHWC) for those images of the batch that become anomalies,
// and leaves the rest as it is.
//
// Launch of all: grid (images, parts of an image) of any shape, 256 threads. No shared memory. Bound: 2 bytes written per value, and what
// is said of each.
#include "sample.cuh"

// Normal noise of standard deviation 64, truncated to integers: value i from normal i of the sample's stream. About 60 flops per value.
extern "C" __global__ void __launch_bounds__(256) noise_gaussian(
    const unsigned* __restrict__ clock, const unsigned* __restrict__ order, unsigned stride, unsigned long long seed,
    int supervise, unsigned len, short* __restrict__ noise) {
  kernels_before();
  const Sample sample = drawn(clock, order, stride, blockIdx.x, seed, supervise);
  if (!sample.anomalous) return;
  const Stream stream = sample.stream(PURPOSE_ANOMALY);
  noise += static_cast<size_t>(blockIdx.x) * len;
  for (unsigned b = blockIdx.y * blockDim.x + threadIdx.x; 4 * b < len; b += gridDim.y * blockDim.x) {
    const Floats4 normals = stream.normals(b);
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
      if (4 * b + k < len) noise[4 * b + k] = static_cast<short>(static_cast<int>(normals.value[k] * 64.0f));
    }
  }
}

// Uniform over 0…255: value i from the upper byte of number i.
extern "C" __global__ void __launch_bounds__(256) noise_uniform(
    const unsigned* __restrict__ clock, const unsigned* __restrict__ order, unsigned stride, unsigned long long seed,
    int supervise, unsigned len, short* __restrict__ noise) {
  kernels_before();
  const Sample sample = drawn(clock, order, stride, blockIdx.x, seed, supervise);
  if (!sample.anomalous) return;
  const Stream stream = sample.stream(PURPOSE_ANOMALY);
  noise += static_cast<size_t>(blockIdx.x) * len;
  for (unsigned b = blockIdx.y * blockDim.x + threadIdx.x; 4 * b < len; b += gridDim.y * blockDim.x) {
    const Words4 words = stream.block(b);
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
      if (4 * b + k < len) noise[4 * b + k] = static_cast<short>(words.word[k] >> 24);
    }
  }
}

// One colour: channel c from the upper byte of number c.
extern "C" __global__ void __launch_bounds__(256) noise_solid(
    const unsigned* __restrict__ clock, const unsigned* __restrict__ order, unsigned stride, unsigned long long seed,
    int supervise, unsigned len, unsigned channels, short* __restrict__ noise) {
  kernels_before();
  const Sample sample = drawn(clock, order, stride, blockIdx.x, seed, supervise);
  if (!sample.anomalous) return;
  const Words4 words = sample.stream(PURPOSE_ANOMALY).block(0);
  noise += static_cast<size_t>(blockIdx.x) * len;
  for (unsigned i = blockIdx.y * blockDim.x + threadIdx.x; i < len; i += gridDim.y * blockDim.x) {
    const unsigned c = i % channels;
    noise[i] = static_cast<short>((c == 0 ? words.word[0] : c == 1 ? words.word[1] : words.word[2]) >> 24);
  }
}

// The outlier image that the sample picks, or, with a `count` of 0, the one that was staged for it. 1 byte read per value.
extern "C" __global__ void __launch_bounds__(256) noise_outliers(
    const unsigned char* __restrict__ outliers, unsigned count, const unsigned* __restrict__ clock,
    const unsigned* __restrict__ order, unsigned stride, unsigned long long seed, int supervise, unsigned len,
    short* __restrict__ noise) {
  kernels_before();
  const Sample sample = drawn(clock, order, stride, blockIdx.x, seed, supervise);
  if (!sample.anomalous) return;
  const unsigned char* image = outliers + static_cast<size_t>(count ? sample.pick(count) : blockIdx.x) * len;
  noise += static_cast<size_t>(blockIdx.x) * len;
  for (unsigned i = blockIdx.y * blockDim.x + threadIdx.x; i < len; i += gridDim.y * blockDim.x) {
    noise[i] = static_cast<short>(image[i]);
  }
}
