// Reflection at the borders of an image.
#pragma once
#include "portable.cuh"

// Index in 0..n of position i when the image is mirrored at its first and last sample: `steps::blur::reflect`.
__device__ __forceinline__ int reflect(int i, int n) {
  if (0 <= i && i < n) return i;
  if (n == 1) return 0;
  const int period = 2 * (n - 1);
  i %= period;
  if (i < 0) i += period;
  return min(i, period - i);
}
