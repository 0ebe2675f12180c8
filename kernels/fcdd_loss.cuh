// The formulas of the FCDD objective in forms without cancellation, as in src/steps/fcdd_loss.
#pragma once
#include "portable.cuh"

// da/dz of a = √(z² + 1) − 1.
static __device__ __forceinline__ float pseudo_huber_slope(float z) { return z / sqrtf(z * z + 1.0f); }

struct Loss {
  float value, slope;
};

// The loss of an anomalous image, -log(1 - exp(-s) + TINY) for its score s, and its derivative by s. Below s = log 2 one form of the
// logarithm is accurate, above it the other (Maechler 2012).
static __device__ __forceinline__ Loss anomalous_loss(float s) {
  constexpr float TINY = 1e-31f, LN_2 = 0.69314718f;
  const float inside = -expm1f(-s) + TINY;
  const float value = s > LN_2 ? -log1pf(-expf(-s)) : -logf(inside);
  return {value, -expf(-s) / inside};
}
