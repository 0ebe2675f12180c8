// What follows the sums of a convolution in its own pass: bias, a norm of fixed statistics, activation. The arithmetic is that of
// norm_act_pool.cu.
#pragma once
#include "portable.cuh"

struct Epilogue {
  // Per channel, and null where there is none: bias; mean and var together; gamma, beta.
  const float* __restrict__ bias;
  const float* __restrict__ mean;
  const float* __restrict__ var;
  const float* __restrict__ gamma;
  const float* __restrict__ beta;
  float eps, slope;

  struct Channel {
    float bias, scale, shift;
  };

  // Of channel k; the identity beyond the last of `channels`.
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

// Leaves sums as they are.
struct NoEpilogue {
  struct Channel {};
  __device__ __forceinline__ Channel of(int, int) const { return {}; }
  __device__ __forceinline__ float operator()(float sum, const Channel&) const { return sum; }
};
