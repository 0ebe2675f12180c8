// The epilogue of a convolution, applied to its sums before they are stored: bias, a norm of fixed statistics, activation. The
// arithmetic is that of norm_act_pool.cu.
#pragma once
#include "norm.cuh"
#include "portable.cuh"

// Its numbers. The bias, one value per channel, may be null; a slope of 1 is no activation.
struct After {
  const float* bias;
  NormChannels norm;
  float slope;
};

struct Epilogue {
  const After& after;

  struct Channel {
    float bias, scale, shift;
  };

  // The constants of channel k; those of the identity if there is no such channel.
  __device__ __forceinline__ Channel of(int k, int channels) const {
    Channel at = {0.0f, 1.0f, 0.0f};
    if (k >= channels) return at;
    const NormChannels& norm = after.norm;
    if (after.bias) at.bias = __ldg(after.bias + k);
    if (norm.mean) {
      at.scale = (norm.gamma ? __ldg(norm.gamma + k) : 1.0f) / sqrtf(__ldg(norm.var + k) + norm.eps);
      at.shift = (norm.beta ? __ldg(norm.beta + k) : 0.0f) - __ldg(norm.mean + k) * at.scale;
    }
    return at;
  }

  __device__ __forceinline__ float operator()(float sum, const Channel& at) const {
    const float normed = at.scale * (sum + at.bias) + at.shift;
    return normed > 0.0f ? normed : after.slope * normed;
  }
};

// Stores sums unchanged.
struct NoEpilogue {
  struct Channel {};
  __device__ __forceinline__ Channel of(int, int) const { return {}; }
  __device__ __forceinline__ float operator()(float sum, const Channel&) const { return sum; }
};
