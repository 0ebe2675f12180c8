// The raw image and ground truth of a sample, anomaly included, computed value by value: nothing is stored. Noise changes an image as in
// `src/data/anomaly/malform.rs`.
#pragma once
#include "block.cuh"
#include "sample.cuh"

__device__ __forceinline__ int clamp_byte(int value) { return min(max(value, 0), 255); }

// A value of noise from which on a byte takes the place of the image's: this much more than the byte.
constexpr int REPLACED = 1024;

// A byte after noise that is added with a sign.
__device__ __forceinline__ int changed(int value, int noise, int sign) {
  return clamp_byte(noise >= REPLACED ? noise - REPLACED : value + sign * noise);
}

// Bytes of a mask where it is not known whether the pixel is anomalous, and where there is no image: those of `src/data/images.rs`. Maps hold
// -1 and -2 there, as `src/steps/fcdd_loss` has them.
constexpr int UNMARKED = 2, OUTSIDE = 3;

// What is 1 in a map: all pixels or none, those that noise changed, those that a mask marks.
enum class Truth { EVERYWHERE, CHANGES, MASK };

struct GroundTruth {
  const unsigned char* mask;  // bytes of a ground truth; null where neither it nor what is outside of the image is known
  Truth truth;                // where the map comes from
  float everywhere;           // its value at all pixels, for Truth::EVERYWHERE
};

struct Source {
  const unsigned char* image;  // a normal one, or a labelled anomaly
  const short* noise;          // null where there is none
  int sign;                    // of added noise; 0 where noise takes the image's place

  // Value i (NHWC) of the raw image.
  __device__ __forceinline__ int byte(size_t i) const {
    if (!noise) return image[i];
    if (sign == 0) return clamp_byte(noise[i]);
    return changed(image[i], noise[i], sign);
  }

  // The ground truth of pixel p.
  __device__ __forceinline__ float mark(const GroundTruth& ground, size_t p, int channels) const {
    if (ground.mask) {
      const int byte = ground.mask[p];
      if (byte == OUTSIDE) return -2.0f;
      if (ground.truth == Truth::MASK) return byte == UNMARKED ? -1.0f : static_cast<float>(byte);
    }
    if (ground.truth == Truth::EVERYWHERE) return ground.everywhere;
    bool differs = false;
#pragma unroll 1
    for (size_t i = p * channels; i < (p + 1) * channels; ++i) differs |= changed(image[i], noise[i], sign) != image[i];
    return differs ? 1.0f : 0.0f;
  }
};

// Chooses the sign of added noise: it is inverted if the mean signed change is below 0.025 of 255 and the inverted noise changes more.
// All threads of the block call it; image and noise are read once. `totals`: two sums in shared memory.
__device__ __forceinline__ void settle_sign(Source& source, size_t len, unsigned long long* totals) {
  if (threadIdx.x < 2) totals[threadIdx.x] = 0;
  __syncthreads();
  long long plus = 0, minus = 0;
  for (size_t i = threadIdx.x; i < len; i += blockDim.x) {
    const int value = source.image[i], noise = source.noise[i];
    plus += changed(value, noise, 1) - value;
    minus += changed(value, noise, -1) - value;
  }
  block_add(plus, totals);
  block_add(minus, totals + 1);
  __syncthreads();
  plus = static_cast<long long>(totals[0]);
  minus = static_cast<long long>(totals[1]);
  plus = plus < 0 ? -plus : plus;
  minus = minus < 0 ? -minus : minus;
  source.sign = 40 * plus < static_cast<long long>(len) && minus > plus ? -1 : 1;
  __syncthreads();
}
