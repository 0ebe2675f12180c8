// Noise per value, one colour per image, and outlier images as noise: `src/data/anomaly/{gaussian,uniform,solid,outliers}.rs`.
//
// Each kernel fills `noise` (for each image `len` = side² · channels values, NHWC) for those images of the batch that become anomalies,
// and leaves the rest as it is.
//
// Launch of all: grid (images, parts of an image) of any shape, 256 threads. No shared memory. Bound: 2 bytes written per value, and what
// is said of each.
#include "sample.cuh"

struct NoiseParameters {
  Draw draw;
  short* noise;
  unsigned len, channels;
};

// Normal noise of standard deviation 64, truncated to integers: value i from normal i of the sample's stream. About 60 flops per value.
static __device__ __forceinline__ void gaussian(const NoiseParameters& given) {
  kernels_before();
  const Sample sample = drawn(given.draw, blockIdx.x);
  if (!sample.anomalous) return;
  const Stream stream = sample.stream(Purpose::ANOMALY);
  short* noise = given.noise + static_cast<size_t>(blockIdx.x) * given.len;
  for (unsigned b = blockIdx.y * blockDim.x + threadIdx.x; 4 * b < given.len; b += gridDim.y * blockDim.x) {
    const Floats4 normals = stream.normals(b);
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
      if (4 * b + k < given.len) noise[4 * b + k] = static_cast<short>(static_cast<int>(normals.value[k] * 64.0f));
    }
  }
}
KERNEL(noise_gaussian, NoiseParameters, (256), gaussian)

// Uniform over 0…255: value i from the upper byte of number i.
static __device__ __forceinline__ void uniform(const NoiseParameters& given) {
  kernels_before();
  const Sample sample = drawn(given.draw, blockIdx.x);
  if (!sample.anomalous) return;
  const Stream stream = sample.stream(Purpose::ANOMALY);
  short* noise = given.noise + static_cast<size_t>(blockIdx.x) * given.len;
  for (unsigned b = blockIdx.y * blockDim.x + threadIdx.x; 4 * b < given.len; b += gridDim.y * blockDim.x) {
    const Words4 words = stream.block(b);
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
      if (4 * b + k < given.len) noise[4 * b + k] = static_cast<short>(words.word[k] >> 24);
    }
  }
}
KERNEL(noise_uniform, NoiseParameters, (256), uniform)

// One colour: channel c from the upper byte of number c.
static __device__ __forceinline__ void solid(const NoiseParameters& given) {
  kernels_before();
  const Sample sample = drawn(given.draw, blockIdx.x);
  if (!sample.anomalous) return;
  const Words4 words = sample.stream(Purpose::ANOMALY).block(0);
  short* noise = given.noise + static_cast<size_t>(blockIdx.x) * given.len;
  for (unsigned i = blockIdx.y * blockDim.x + threadIdx.x; i < given.len; i += gridDim.y * blockDim.x) {
    const unsigned c = i % given.channels;
    noise[i] = static_cast<short>((c == 0 ? words.word[0] : c == 1 ? words.word[1] : words.word[2]) >> 24);
  }
}
KERNEL(noise_solid, NoiseParameters, (256), solid)

struct OutlierNoiseParameters {
  Draw draw;
  const unsigned char* outliers;
  short* noise;
  unsigned count, len;
};

// The outlier image that the sample picks, or, with a `count` of 0, the one that was staged for it. 1 byte read per value.
static __device__ __forceinline__ void take_outliers(const OutlierNoiseParameters& given) {
  kernels_before();
  const Sample sample = drawn(given.draw, blockIdx.x);
  if (!sample.anomalous) return;
  const unsigned char* image = given.outliers + static_cast<size_t>(given.count ? sample.pick(given.count) : blockIdx.x) * given.len;
  short* noise = given.noise + static_cast<size_t>(blockIdx.x) * given.len;
  for (unsigned i = blockIdx.y * blockDim.x + threadIdx.x; i < given.len; i += gridDim.y * blockDim.x) {
    noise[i] = static_cast<short>(image[i]);
  }
}
KERNEL(noise_outliers, OutlierNoiseParameters, (256), take_outliers)
