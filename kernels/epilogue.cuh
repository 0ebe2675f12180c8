// The epilogue of a convolution, applied to its sums before they are stored: bias, a norm of fixed statistics, activation. The
// arithmetic is that of norm_act_pool.cu.
#pragma once
#include "portable.cuh"

struct Epilogue {
  // One value per channel. Each may be null, mean and var only together.
  const float* __restrict__ bias;
  const float* __restrict__ mean;
  const float* __restrict__ var;
  const float* __restrict__ gamma;
  const float* __restrict__ beta;
  float eps, slope;

  struct Channel {
    float bias, scale, shift;
  };

  // The constants of channel k; those of the identity if there is no such channel.
  __device__ __forceinline__ Channel of(int k, int channels) const {
    Channel at = {0.0f, 1.0f, 0.0f};
    if (k >= channels) return at;
    if (bias) at.bias = bias[k];
    if (mean) {
      at.scale = (gamma ? gamma[k] : 1.0f) / sqrtf(var[k] + eps);
      at.shift = (beta ? beta[k] : 0.0f) - mean[k] * at.scale;
    }
    return at;
  }

  __device__ __forceinline__ float operator()(float sum, const Channel& at) const {
    const float normed = at.scale * (sum + at.bias) + at.shift;
    return normed > 0.0f ? normed : slope * normed;
  }
};

// Stores sums unchanged.
struct NoEpilogue {
  struct Channel {};
  __device__ __forceinline__ Channel of(int, int) const { return {}; }
  __device__ __forceinline__ float operator()(float sum, const Channel&) const { return sum; }
};
