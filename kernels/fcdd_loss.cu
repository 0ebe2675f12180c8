// The FCDD objective with ground-truth maps: map_loss, pseudo_huber_backward. The objective with labels is in head.cu.
#include "fcdd_loss.cuh"
#include "reduce.cuh"

constexpr int THREADS = 256;

struct MapLossParameters {
  const float *a, *maps;
  float *loss, *da;
  int n, pixels, top;
};

// Ground truth of a pixel of which nothing is known, and of one that belongs to no image: those of src/steps/fcdd_loss.
constexpr float UNMARKED = -1.0f, OUTSIDE = -2.0f;

// How many of an image's values are above one, or equal to it: counts below 2^24 are exact as floats. Here and below pixels outside of the
// image are left out.
struct Rank {
  float above, equal;
};

static __device__ __forceinline__ Rank rank_of(float value, const float* a, const float* g, int pixels, float* parts) {
  Rank rank = {0.0f, 0.0f};
  for (int i = threadIdx.x; i < pixels; i += THREADS) {
    if (g[i] == OUTSIDE) continue;
    if (a[i] > value) rank.above += 1.0f;
    if (a[i] == value) rank.equal += 1.0f;
  }
  rank.above = block_sum(rank.above, parts);
  rank.equal = block_sum(rank.equal, parts);
  return rank;
}

// The value at place `top` of an image's values, from the highest down: the largest that has at least so many not below it. Values of 0 or
// more are in the order of their bits, which are settled from the highest down.
static __device__ __forceinline__ float value_at(float top, const float* a, const float* g, int pixels, float* parts) {
  unsigned bits = 0;
  for (int bit = 30; bit >= 0; --bit) {
    const unsigned with = bits | 1u << bit;
    float reached = 0.0f;
    for (int i = threadIdx.x; i < pixels; i += THREADS) {
      if (g[i] != OUTSIDE && __float_as_uint(a[i]) >= with) reached += 1.0f;
    }
    if (block_sum(reached, parts) >= top) bits = with;
  }
  return __uint_as_float(bits);
}

// The loss of each image, from its upsampled anomaly map A and its ground-truth map g of 0 and 1, and the gradient by A:
// mean(A (1 - g)) + (-log(1 - exp(-mean(A g))) if g has any 1). Where g is UNMARKED somewhere, the loss is that of a label: -log(1 - exp(-s)),
// with the mean s of the `top` highest values of A; those that equal the least of them share the places left. Pixels that are OUTSIDE
// count for nothing, and `top` is less in proportion.
//
// Launch: one block of 256 threads per image. Shared memory, static: 128 bytes. Bound: the bytes of A, g and da; for a label A is read
// 34 times more, from L2.
static __device__ __forceinline__ void losses_of_maps(const MapLossParameters& given) {
  kernels_before();
  __shared__ float parts[32];
  const size_t image = (size_t)blockIdx.x * given.pixels;
  float inside = 0.0f, rest = 0.0f, marked = 0.0f, unmarked = 0.0f, shown = 0.0f;
  for (int i = threadIdx.x; i < given.pixels; i += THREADS) {
    const float value = given.a[image + i], g = given.maps[image + i];
    if (g == OUTSIDE) continue;
    inside = fmaf(value, g, inside);
    rest = fmaf(value, 1.0f - g, rest);
    shown += 1.0f;
    if (g > 0.0f) marked = 1.0f;
    if (g == UNMARKED) unmarked = 1.0f;
  }
  shown = fmaxf(block_sum(shown, parts), 1.0f);
  if (block_sum(unmarked, parts) > 0.0f) {
    const float *a = given.a + image, *g = given.maps + image;
    const float top = (float)max((int)((long long)given.top * (long long)shown / given.pixels), 1);
    const float least = value_at(top, a, g, given.pixels, parts);
    const Rank rank = rank_of(least, a, g, given.pixels, parts);
    const float each = 1.0f / top, of_least = each * (top - rank.above) / fmaxf(rank.equal, 1.0f);
    const auto share = [=](int i) { return g[i] == OUTSIDE ? 0.0f : a[i] > least ? each : a[i] == least ? of_least : 0.0f; };
    float score = 0.0f;
    for (int i = threadIdx.x; i < given.pixels; i += THREADS) score = fmaf(a[i], share(i), score);
    const Loss found = anomalous_loss(block_sum(score, parts));
    if (threadIdx.x == 0) given.loss[blockIdx.x] = found.value;
    const float per_image = found.slope / (float)given.n;
    for (int i = threadIdx.x; i < given.pixels; i += THREADS) given.da[image + i] = share(i) * per_image;
    return;
  }
  inside = block_sum(inside, parts) / shown;
  rest = block_sum(rest, parts) / shown;
  const bool any = block_sum(marked, parts) > 0.0f;
  const Loss found = any ? anomalous_loss(inside) : Loss{0.0f, 0.0f};
  if (threadIdx.x == 0) given.loss[blockIdx.x] = rest + found.value;
  const float per_value = (float)(1.0 / ((double)given.n * shown));
  for (int i = threadIdx.x; i < given.pixels; i += THREADS) {
    const float g = given.maps[image + i];
    given.da[image + i] = g == OUTSIDE ? 0.0f : ((1.0f - g) + g * found.slope) * per_value;
  }
}
KERNEL(map_loss, MapLossParameters, (THREADS), losses_of_maps)

struct PseudoHuberBackwardParameters {
  const float *z, *da;
  float* dz;
  int len;
};

// dz = da * z / sqrt(z^2 + 1).
//
// Launch: ⌈len / 256⌉ blocks, 256 threads, one value per thread. No shared memory. Bound: the bytes of z, da and dz.
static __device__ __forceinline__ void slopes(const PseudoHuberBackwardParameters& given) {
  kernels_before();
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i < given.len) given.dz[i] = given.da[i] * pseudo_huber_slope(given.z[i]);
}
KERNEL(pseudo_huber_backward, PseudoHuberBackwardParameters, (THREADS), slopes)
