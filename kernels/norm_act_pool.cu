// norm_act_pool: y = maxpool(activation(norm(x))) over NHWC maps in one pass, and its backward pass.
//
// The arithmetic is that of the CPU, operation by operation, so the pool's argmax is the same. Each kernel exists for maps of f32 and of
// bf16, reading and writing 16 bytes of channels at a time (f32x4, bf16x8), and for channels that are no multiple of that (f32x1, bf16x1).
// A thread works on the same V channels for all its pixels and computes their scale and shift once.
#include "norm.cuh"
#include "reduce.cuh"
#include "vector.cuh"

// Pixels per block: FORWARD_TILE of y, TILE of x in the backward passes.
constexpr int FORWARD_TILE = 128, TILE = 512;
constexpr int THREADS = 256;

// Maps [n, h, w, c], the windows of the pool, and the threads side by side along the channels.
struct PoolShape {
  int n, h, w, c, side, stride, pad, lanes;
};

template <class T>
struct NormActPoolParameters {
  const T* x;
  NormChannels norm;
  T* y;
  unsigned char* argmax;
  float slope;
  PoolShape shape;
};

// What both passes over the maps read.
template <class T>
struct NormActPoolGradient {
  const T* x;
  NormChannels norm;
  const unsigned char* argmax;
  const T* dy;
  float slope;
  PoolShape shape;
};

template <class T>
struct NormActPoolSumsParameters {
  NormActPoolGradient<T> of;
  float* parts;
};

struct NormActPoolMergeParameters {
  const float *parts, *var;
  float *dgamma, *dbeta, *totals;
  float eps;
  int pixels, c;
};

template <class T>
struct NormActPoolBackwardParameters {
  NormActPoolGradient<T> of;
  const float* totals;
  T* dx;
};

// The norm of V channels as scale * x + shift; without a norm (mean null) the identity.
template <int V>
struct Affine {
  Floats<V> scale, shift, mean;

  __device__ __forceinline__ Affine(const NormChannels& norm, int channel) {
#pragma unroll
    for (int i = 0; i < V; i++) {
      mean.v[i] = norm.mean ? norm.mean[channel + i] : 0.0f;
      scale.v[i] = norm.mean ? (norm.gamma ? norm.gamma[channel + i] : 1.0f) / sqrtf(norm.var[channel + i] + norm.eps) : 1.0f;
      shift.v[i] = norm.mean ? (norm.beta ? norm.beta[channel + i] : 0.0f) - mean.v[i] * scale.v[i] : 0.0f;
    }
  }
};

template <class T, int V>
__device__ __forceinline__ void forward(const NormActPoolParameters<T>& given) {
  const PoolShape& shape = given.shape;
  kernels_before();
  const int oh = (shape.h + 2 * shape.pad - shape.side) / shape.stride + 1, ow = (shape.w + 2 * shape.pad - shape.side) / shape.stride + 1;
  const Walk<V, THREADS, FORWARD_TILE> walk(shape.n * oh * ow, shape.c, shape.lanes);
  if (!walk.live) return;
  const Affine<V> norm(given.norm, walk.channel);
  for (int out = walk.first + walk.row; out < walk.last; out += walk.rows) {
    const int q = out % ow, p = out / ow % oh;
    const T* image = given.x + (size_t)(out / (ow * oh)) * shape.h * shape.w * shape.c + walk.channel;
    const int top = p * shape.stride - shape.pad, left = q * shape.stride - shape.pad;
    const int r0 = max(0, -top), r1 = min(shape.side, shape.h - top), s0 = max(0, -left), s1 = min(shape.side, shape.w - left);
    Floats<V> best;
    Bytes<V> winner;
#pragma unroll
    for (int i = 0; i < V; i++) {
      best.v[i] = -INFINITY;
      winner.v[i] = (unsigned char)(r0 * shape.side + s0);
    }
    for (int r = r0; r < r1; r++) {
      for (int s = s0; s < s1; s++) {
        const Floats<V> values = load<V>(image + ((size_t)(top + r) * shape.w + left + s) * shape.c);
#pragma unroll
        for (int i = 0; i < V; i++) {
          const float normed = norm.scale.v[i] * values.v[i] + norm.shift.v[i];
          const float value = normed > 0.0f ? normed : given.slope * normed;
          if (value > best.v[i] || value != value) {
            best.v[i] = value;
            winner.v[i] = (unsigned char)(r * shape.side + s);
          }
        }
      }
    }
    const size_t index = (size_t)out * shape.c + walk.channel;
    store(given.y + index, best);
    if (given.argmax) store_bytes(given.argmax + index, winner);
  }
}

// Walks over a tile of x [n, h, w, c]. For each pixel calls `use` with its index, V channels of x, and the gradient before the activation: dy
// back through pool and activation, gathered from the windows of which the input is the maximum.
template <class T, int V, class Use>
__device__ __forceinline__ void gather(const Walk<V, THREADS, TILE>& walk, const Affine<V>& norm, const NormActPoolGradient<T>& given,
                                       Use use) {
  const PoolShape& shape = given.shape;
  const int oh = (shape.h + 2 * shape.pad - shape.side) / shape.stride + 1, ow = (shape.w + 2 * shape.pad - shape.side) / shape.stride + 1;
  for (int pixel = walk.first + walk.row; pixel < walk.last; pixel += walk.rows) {
    const int j = pixel % shape.w, i = pixel / shape.w % shape.h;
    const size_t image = (size_t)(pixel / (shape.w * shape.h)) * oh * ow;
    // Output p reads the input rows p * stride - pad ... p * stride - pad + side - 1.
    const int p0 = (max(i + shape.pad + 1 - shape.side, 0) + shape.stride - 1) / shape.stride;
    const int q0 = (max(j + shape.pad + 1 - shape.side, 0) + shape.stride - 1) / shape.stride;
    const int p1 = min((i + shape.pad) / shape.stride + 1, oh), q1 = min((j + shape.pad) / shape.stride + 1, ow);
    Floats<V> d;
#pragma unroll
    for (int e = 0; e < V; e++) d.v[e] = 0.0f;
    for (int p = p0; p < p1; p++) {
      for (int q = q0; q < q1; q++) {
        const int tap = (i + shape.pad - p * shape.stride) * shape.side + j + shape.pad - q * shape.stride;
        const size_t out = (image + (size_t)p * ow + q) * shape.c + walk.channel;
        const Bytes<V> winner = given.argmax ? load_bytes<V>(given.argmax + out) : Bytes<V>{};
        const Floats<V> from = load<V>(given.dy + out);
#pragma unroll
        for (int e = 0; e < V; e++)
          if (winner.v[e] == tap) d.v[e] += from.v[e];
      }
    }
    const size_t index = (size_t)pixel * shape.c + walk.channel;
    const Floats<V> values = load<V>(given.x + index);
#pragma unroll
    for (int e = 0; e < V; e++)
      if (!(norm.scale.v[e] * values.v[e] + norm.shift.v[e] > 0.0f)) d.v[e] = given.slope * d.v[e];
    use(index, values, d);
  }
}

template <class T, int V>
__device__ __forceinline__ void backward_sums(const NormActPoolSumsParameters<T>& given) {
  const NormActPoolGradient<T>& of = given.of;
  const PoolShape& shape = of.shape;
  kernels_before();
  __shared__ Floats<V> sums[THREADS];
  const Walk<V, THREADS, TILE> walk(shape.n * shape.h * shape.w, shape.c, shape.lanes);
  Floats<V> product, sum;
#pragma unroll
  for (int i = 0; i < V; i++) product.v[i] = sum.v[i] = 0.0f;
  if (walk.live) {
    const Affine<V> norm(of.norm, walk.channel);
    gather<T, V>(walk, norm, of,
                 [&](size_t, const Floats<V>& values, const Floats<V>& d) {
#pragma unroll
                   for (int e = 0; e < V; e++) {
                     product.v[e] = fmaf(d.v[e], values.v[e] - norm.mean.v[e], product.v[e]);
                     sum.v[e] += d.v[e];
                   }
                 });
  }
  product = column_sums(product, sums, shape.lanes);
  sum = column_sums(sum, sums, shape.lanes);
  if (!walk.live || walk.row > 0) return;
#pragma unroll
  for (int e = 0; e < V; e++) {
    given.parts[((size_t)blockIdx.x * 2) * shape.c + walk.channel + e] = product.v[e];
    given.parts[((size_t)blockIdx.x * 2 + 1) * shape.c + walk.channel + e] = sum.v[e];
  }
}

template <class T, int V>
__device__ __forceinline__ void backward(const NormActPoolBackwardParameters<T>& given) {
  const NormActPoolGradient<T>& of = given.of;
  const PoolShape& shape = of.shape;
  kernels_before();
  const Walk<V, THREADS, TILE> walk(shape.n * shape.h * shape.w, shape.c, shape.lanes);
  if (!walk.live) return;
  const Affine<V> norm(of.norm, walk.channel);
  Floats<V> product, sum;
#pragma unroll
  for (int i = 0; i < V; i++) {
    product.v[i] = given.totals ? given.totals[walk.channel + i] : 0.0f;
    sum.v[i] = given.totals ? given.totals[shape.c + walk.channel + i] : 0.0f;
  }
  gather<T, V>(walk, norm, of,
               [&](size_t index, const Floats<V>& values, const Floats<V>& d) {
                 Floats<V> result;
#pragma unroll
                 for (int e = 0; e < V; e++) {
                   const float taken = given.totals ? d.v[e] - sum.v[e] - (values.v[e] - norm.mean.v[e]) * product.v[e] : d.v[e];
                   result.v[e] = norm.scale.v[e] * taken;
                 }
                 store(given.dx + index, result);
               });
}

// Forward, x [n, h, w, c] to y [n, oh, ow, c]. `argmax` (null: not wanted) gets the tap of the maximum, the first of equal ones; in the
// backward passes it is null for windows of a single tap.
//
// Launch: ⌈n · oh · ow / 128⌉ blocks in x, ⌈c / V / lanes⌉ in y, 256 threads: `lanes` threads (a power of two up to 32) side by side, each
// with V channels. No shared memory. Bound: the bytes of x and y.
KERNEL(norm_act_pool_f32x4, NormActPoolParameters<float>, (THREADS, 2), forward<float, 4>)
KERNEL(norm_act_pool_f32x1, NormActPoolParameters<float>, (THREADS, 2), forward<float, 1>)
KERNEL(norm_act_pool_bf16x8, NormActPoolParameters<bf16>, (THREADS, 2), forward<bf16, 8>)
KERNEL(norm_act_pool_bf16x1, NormActPoolParameters<bf16>, (THREADS, 2), forward<bf16, 1>)

// Backward with a norm of batch statistics, first pass: `parts` [tiles][2][c] gets each tile's sums of d * (x - mean) and of d, the gradient
// before the activation. The third pass computes d again: storing it would cost more bytes, and a rounding in bf16.
//
// Launch: ⌈n · h · w / 512⌉ blocks in x, ⌈c / V / lanes⌉ in y, 256 threads. Shared memory, static: V KiB. Bound: the bytes of x and dy.
KERNEL(norm_act_pool_backward_sums_f32x4, NormActPoolSumsParameters<float>, (THREADS, 2), backward_sums<float, 4>)
KERNEL(norm_act_pool_backward_sums_f32x1, NormActPoolSumsParameters<float>, (THREADS, 2), backward_sums<float, 1>)
KERNEL(norm_act_pool_backward_sums_bf16x8, NormActPoolSumsParameters<bf16>, (THREADS, 2), backward_sums<bf16, 8>)
KERNEL(norm_act_pool_backward_sums_bf16x1, NormActPoolSumsParameters<bf16>, (THREADS, 2), backward_sums<bf16, 1>)

// Backward, second pass: adds the tiles' sums in a fixed order. Writes dgamma and dbeta (null: not wanted), and into `totals` [2][c] what the
// third pass subtracts per pixel: rstd * dgamma / pixels and dbeta / pixels.
//
// Launch: ⌈c / 8⌉ blocks, 256 threads, one warp per channel. No shared memory. Bound: launch, or the bytes of `parts`.
static __device__ __forceinline__ void backward_merge(const NormActPoolMergeParameters& given) {
  kernels_before();
  const int channel = (blockIdx.x * THREADS + threadIdx.x) / 32, lane = threadIdx.x % 32;
  const bool live = channel < given.c;
  const int tiles = (given.pixels + TILE - 1) / TILE;
  float product = 0.0f, sum = 0.0f;
  if (live) {
    for (int tile = lane; tile < tiles; tile += 32) {
      product += given.parts[(size_t)tile * 2 * given.c + channel];
      sum += given.parts[((size_t)tile * 2 + 1) * given.c + channel];
    }
  }
  product = warp_sum(product);
  sum = warp_sum(sum);
  if (live && lane == 0) {
    const float rstd = 1.0f / sqrtf(given.var[channel] + given.eps);
    if (given.dgamma) given.dgamma[channel] = product * rstd;
    if (given.dbeta) given.dbeta[channel] = sum;
    given.totals[channel] = product * rstd * (rstd / (float)given.pixels);
    given.totals[given.c + channel] = sum / (float)given.pixels;
  }
}
KERNEL(norm_act_pool_backward_merge, NormActPoolMergeParameters, (THREADS), backward_merge)

// Backward, third pass: dx = scale * (d - dbeta / M - (x - mean) * rstd * dgamma / M) for M pixels. If the norm's statistics are fixed or there
// is no norm, this is the only pass: `totals` is null, and dx = scale * d.
//
// Launch: as the first pass. No shared memory. Bound: the bytes of x, dy and dx.
KERNEL(norm_act_pool_backward_f32x4, NormActPoolBackwardParameters<float>, (THREADS, 2), backward<float, 4>)
KERNEL(norm_act_pool_backward_f32x1, NormActPoolBackwardParameters<float>, (THREADS, 2), backward<float, 1>)
KERNEL(norm_act_pool_backward_bf16x8, NormActPoolBackwardParameters<bf16>, (THREADS, 2), backward<bf16, 8>)
KERNEL(norm_act_pool_backward_bf16x1, NormActPoolBackwardParameters<bf16>, (THREADS, 2), backward<bf16, 1>)
