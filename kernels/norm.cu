// Statistics of a batch norm: mean and biased variance of each channel, and the update of the running estimates. The convolution before it
// writes mean and M2 = sum of (x - mean)^2 of each tile of pixels (column_moments), which are merged here in a fixed order (Chan et al.
// 1983). A sum of squares is never formed: it would cancel.
#include "portable.cuh"
#include "hyper.cuh"

constexpr int THREADS = 256;

struct Moments {
  float count, mean, m2;
};

static __device__ __forceinline__ Moments merged(Moments a, Moments b) {
  if (b.count == 0.0f) return a;
  if (a.count == 0.0f) return b;
  const float sum = a.count + b.count, delta = b.mean - a.mean;
  return {sum, a.mean + delta * (b.count / sum), a.m2 + b.m2 + delta * delta * (a.count * (b.count / sum))};
}

struct NormStatsParameters {
  const float *parts, *bias;
  float *mean, *var, *running_mean, *running_var;
  const float* hyper;
  const unsigned* clock;
  int pixels, c, tile_pixels;
};

// Merges `parts` [tiles][2][c], of `tile_pixels` pixels each: each lane merges every 32nd tile, then the lanes are merged pairwise. `bias`
// (null: none) is that of the convolution, which the tiles lack: it only moves the running mean.
//
// Launch: ⌈c / 8⌉ blocks, 256 threads, one warp per channel. No shared memory. Bound: launch, or the bytes of `parts`.
static __device__ __forceinline__ void merge_stats(const NormStatsParameters& given) {
  kernels_before();
  const int channel = (blockIdx.x * THREADS + threadIdx.x) / 32, lane = threadIdx.x % 32;
  const bool live = channel < given.c;
  const int tiles = (given.pixels + given.tile_pixels - 1) / given.tile_pixels;
  Moments total = {0.0f, 0.0f, 0.0f};
  if (live) {
    for (int tile = lane; tile < tiles; tile += 32) {
      const float* part = given.parts + (size_t)tile * 2 * given.c + channel;
      total = merged(total, {(float)min(given.tile_pixels, given.pixels - tile * given.tile_pixels), part[0], part[given.c]});
    }
  }
  for (int offset = 1; offset < 32; offset *= 2) {
    const Moments other = {__shfl_down_sync(0xffffffffu, total.count, offset), __shfl_down_sync(0xffffffffu, total.mean, offset),
                           __shfl_down_sync(0xffffffffu, total.m2, offset)};
    // Lanes whose partner would lie beyond the warp merge with themselves; their result is not used.
    total = merged(total, other);
  }
  if (live && lane == 0) {
    const float variance = total.m2 / (float)given.pixels;
    const float momentum = hyper_row(given.hyper, given.clock)[HYPER_NORM_MOMENTUM], keep = 1.0f - momentum;
    const float unbias = (float)given.pixels / fmaxf((float)given.pixels - 1.0f, 1.0f);
    const float shifted = total.mean + (given.bias ? given.bias[channel] : 0.0f);
    given.mean[channel] = total.mean;
    given.var[channel] = variance;
    given.running_mean[channel] = keep * given.running_mean[channel] + momentum * shifted;
    given.running_var[channel] = keep * given.running_var[channel] + momentum * unbias * variance;
  }
}
KERNEL(norm_stats_merge, NormStatsParameters, (THREADS), merge_stats)
