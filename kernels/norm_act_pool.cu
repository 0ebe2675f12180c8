// norm_act_pool: y = maxpool(activation(norm(x))) over NHWC maps in one pass, and its backward pass.
//
// The arithmetic is that of the CPU, operation by operation, so the pool's argmax is the same. Each kernel exists for maps of f32 and of
// bf16, reading and writing 16 bytes of channels at a time (f32x4, bf16x8), and for channels that are no multiple of that (f32x1, bf16x1).
// A thread works on the same V channels for all its pixels and computes their scale and shift once.
#include "reduce.cuh"
#include "vector.cuh"

// Pixels per block: FORWARD_TILE of y, TILE of x in the backward passes.
constexpr int FORWARD_TILE = 128, TILE = 512;
constexpr int THREADS = 256;

// The norm of V channels as scale * x + shift; without a norm (mean null) the identity.
template <int V>
struct Affine {
  Floats<V> scale, shift, mean;

  __device__ __forceinline__ Affine(const float* mean_, const float* var, const float* gamma, const float* beta, float eps,
                                    int channel) {
#pragma unroll
    for (int i = 0; i < V; i++) {
      mean.v[i] = mean_ ? mean_[channel + i] : 0.0f;
      scale.v[i] = mean_ ? (gamma ? gamma[channel + i] : 1.0f) / sqrtf(var[channel + i] + eps) : 1.0f;
      shift.v[i] = mean_ ? (beta ? beta[channel + i] : 0.0f) - mean.v[i] * scale.v[i] : 0.0f;
    }
  }
};

template <class T, int V>
__device__ __forceinline__ void forward(const T* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                                        const float* __restrict__ gamma, const float* __restrict__ beta, T* __restrict__ y,
                                        unsigned char* __restrict__ argmax, float eps, float slope, int n, int h, int w, int c,
                                        int side, int stride, int pad, int lanes) {
  kernels_before();
  const int oh = (h + 2 * pad - side) / stride + 1, ow = (w + 2 * pad - side) / stride + 1;
  const Walk<V, THREADS, FORWARD_TILE> walk(n * oh * ow, c, lanes);
  if (!walk.live) return;
  const Affine<V> norm(mean, var, gamma, beta, eps, walk.channel);
  for (int out = walk.first + walk.row; out < walk.last; out += walk.rows) {
    const int q = out % ow, p = out / ow % oh;
    const T* image = x + (size_t)(out / (ow * oh)) * h * w * c + walk.channel;
    const int top = p * stride - pad, left = q * stride - pad;
    const int r0 = max(0, -top), r1 = min(side, h - top), s0 = max(0, -left), s1 = min(side, w - left);
    Floats<V> best;
    Bytes<V> winner;
#pragma unroll
    for (int i = 0; i < V; i++) {
      best.v[i] = -INFINITY;
      winner.v[i] = (unsigned char)(r0 * side + s0);
    }
    for (int r = r0; r < r1; r++) {
      for (int s = s0; s < s1; s++) {
        const Floats<V> values = load<V>(image + ((size_t)(top + r) * w + left + s) * c);
#pragma unroll
        for (int i = 0; i < V; i++) {
          const float normed = norm.scale.v[i] * values.v[i] + norm.shift.v[i];
          const float value = normed > 0.0f ? normed : slope * normed;
          if (value > best.v[i] || value != value) {
            best.v[i] = value;
            winner.v[i] = (unsigned char)(r * side + s);
          }
        }
      }
    }
    const size_t index = (size_t)out * c + walk.channel;
    store(y + index, best);
    if (argmax) store_bytes(argmax + index, winner);
  }
}

// Walks over a tile of x [n, h, w, c]. For each pixel calls `use` with its index, V channels of x, and the gradient before the activation: dy
// back through pool and activation, gathered from the windows of which the input is the maximum.
template <class T, int V, class Use>
__device__ __forceinline__ void gather(const Walk<V, THREADS, TILE>& walk, const Affine<V>& norm, const T* __restrict__ x,
                                       const unsigned char* __restrict__ argmax, const T* __restrict__ dy, float slope, int h, int w,
                                       int c, int side, int stride, int pad, Use use) {
  const int oh = (h + 2 * pad - side) / stride + 1, ow = (w + 2 * pad - side) / stride + 1;
  for (int pixel = walk.first + walk.row; pixel < walk.last; pixel += walk.rows) {
    const int j = pixel % w, i = pixel / w % h;
    const size_t image = (size_t)(pixel / (w * h)) * oh * ow;
    // Output p reads the input rows p * stride - pad ... p * stride - pad + side - 1.
    const int p0 = (max(i + pad + 1 - side, 0) + stride - 1) / stride, p1 = min((i + pad) / stride + 1, oh);
    const int q0 = (max(j + pad + 1 - side, 0) + stride - 1) / stride, q1 = min((j + pad) / stride + 1, ow);
    Floats<V> d;
#pragma unroll
    for (int e = 0; e < V; e++) d.v[e] = 0.0f;
    for (int p = p0; p < p1; p++) {
      for (int q = q0; q < q1; q++) {
        const int tap = (i + pad - p * stride) * side + j + pad - q * stride;
        const size_t out = (image + (size_t)p * ow + q) * c + walk.channel;
        const Bytes<V> winner = argmax ? load_bytes<V>(argmax + out) : Bytes<V>{};
        const Floats<V> from = load<V>(dy + out);
#pragma unroll
        for (int e = 0; e < V; e++)
          if (winner.v[e] == tap) d.v[e] += from.v[e];
      }
    }
    const size_t index = (size_t)pixel * c + walk.channel;
    const Floats<V> values = load<V>(x + index);
#pragma unroll
    for (int e = 0; e < V; e++)
      if (!(norm.scale.v[e] * values.v[e] + norm.shift.v[e] > 0.0f)) d.v[e] = slope * d.v[e];
    use(index, values, d);
  }
}

template <class T, int V>
__device__ __forceinline__ void backward_sums(const T* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                                              const float* __restrict__ gamma, const float* __restrict__ beta,
                                              const unsigned char* __restrict__ argmax, const T* __restrict__ dy,
                                              float* __restrict__ parts, float eps, float slope, int n, int h, int w, int c, int side,
                                              int stride, int pad, int lanes) {
  kernels_before();
  __shared__ Floats<V> sums[THREADS];
  const Walk<V, THREADS, TILE> walk(n * h * w, c, lanes);
  Floats<V> product, sum;
#pragma unroll
  for (int i = 0; i < V; i++) product.v[i] = sum.v[i] = 0.0f;
  if (walk.live) {
    const Affine<V> norm(mean, var, gamma, beta, eps, walk.channel);
    gather<T, V>(walk, norm, x, argmax, dy, slope, h, w, c, side, stride, pad,
                 [&](size_t, const Floats<V>& values, const Floats<V>& d) {
#pragma unroll
                   for (int e = 0; e < V; e++) {
                     product.v[e] = fmaf(d.v[e], values.v[e] - norm.mean.v[e], product.v[e]);
                     sum.v[e] += d.v[e];
                   }
                 });
  }
  product = column_sums(product, sums, lanes);
  sum = column_sums(sum, sums, lanes);
  if (!walk.live || walk.row > 0) return;
#pragma unroll
  for (int e = 0; e < V; e++) {
    parts[((size_t)blockIdx.x * 2) * c + walk.channel + e] = product.v[e];
    parts[((size_t)blockIdx.x * 2 + 1) * c + walk.channel + e] = sum.v[e];
  }
}

template <class T, int V>
__device__ __forceinline__ void backward(const T* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                                         const float* __restrict__ gamma, const float* __restrict__ beta,
                                         const unsigned char* __restrict__ argmax, const T* __restrict__ dy,
                                         const float* __restrict__ totals, T* __restrict__ dx, float eps, float slope, int n, int h,
                                         int w, int c, int side, int stride, int pad, int lanes) {
  kernels_before();
  const Walk<V, THREADS, TILE> walk(n * h * w, c, lanes);
  if (!walk.live) return;
  const Affine<V> norm(mean, var, gamma, beta, eps, walk.channel);
  Floats<V> product, sum;
#pragma unroll
  for (int i = 0; i < V; i++) {
    product.v[i] = totals ? totals[walk.channel + i] : 0.0f;
    sum.v[i] = totals ? totals[c + walk.channel + i] : 0.0f;
  }
  gather<T, V>(walk, norm, x, argmax, dy, slope, h, w, c, side, stride, pad,
               [&](size_t index, const Floats<V>& values, const Floats<V>& d) {
                 Floats<V> result;
#pragma unroll
                 for (int e = 0; e < V; e++) {
                   const float taken = totals ? d.v[e] - sum.v[e] - (values.v[e] - norm.mean.v[e]) * product.v[e] : d.v[e];
                   result.v[e] = norm.scale.v[e] * taken;
                 }
                 store(dx + index, result);
               });
}

// Forward, x [n, h, w, c] to y [n, oh, ow, c]. `argmax` (null: not wanted) gets the tap of the maximum, the first of equal ones; in the
// backward passes it is null for windows of a single tap.
//
// Launch: ⌈n · oh · ow / 128⌉ blocks in x, ⌈c / V / lanes⌉ in y, 256 threads: `lanes` threads (a power of two up to 32) side by side, each
// with V channels. No shared memory. Bound: the bytes of x and y.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_f32x4(const float* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                     const float* __restrict__ gamma, const float* __restrict__ beta, float* __restrict__ y,
                     unsigned char* __restrict__ argmax, float eps, float slope, int n, int h, int w, int c, int side, int stride,
                     int pad, int lanes) {
  forward<float, 4>(x, mean, var, gamma, beta, y, argmax, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_f32x1(const float* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                     const float* __restrict__ gamma, const float* __restrict__ beta, float* __restrict__ y,
                     unsigned char* __restrict__ argmax, float eps, float slope, int n, int h, int w, int c, int side, int stride,
                     int pad, int lanes) {
  forward<float, 1>(x, mean, var, gamma, beta, y, argmax, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_bf16x8(const bf16* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                     const float* __restrict__ gamma, const float* __restrict__ beta, bf16* __restrict__ y,
                     unsigned char* __restrict__ argmax, float eps, float slope, int n, int h, int w, int c, int side, int stride,
                     int pad, int lanes) {
  forward<bf16, 8>(x, mean, var, gamma, beta, y, argmax, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_bf16x1(const bf16* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                     const float* __restrict__ gamma, const float* __restrict__ beta, bf16* __restrict__ y,
                     unsigned char* __restrict__ argmax, float eps, float slope, int n, int h, int w, int c, int side, int stride,
                     int pad, int lanes) {
  forward<bf16, 1>(x, mean, var, gamma, beta, y, argmax, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

// Backward with a norm of batch statistics, first pass: `parts` [tiles][2][c] gets each tile's sums of d * (x - mean) and of d, the gradient
// before the activation. The third pass computes d again: storing it would cost more bytes, and a rounding in bf16.
//
// Launch: ⌈n · h · w / 512⌉ blocks in x, ⌈c / V / lanes⌉ in y, 256 threads. Shared memory, static: V KiB. Bound: the bytes of x and dy.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_backward_sums_f32x4(const float* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                                   const float* __restrict__ gamma, const float* __restrict__ beta,
                                   const unsigned char* __restrict__ argmax, const float* __restrict__ dy, float* __restrict__ parts,
                                   float eps, float slope, int n, int h, int w, int c, int side, int stride, int pad, int lanes) {
  backward_sums<float, 4>(x, mean, var, gamma, beta, argmax, dy, parts, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_backward_sums_f32x1(const float* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                                   const float* __restrict__ gamma, const float* __restrict__ beta,
                                   const unsigned char* __restrict__ argmax, const float* __restrict__ dy, float* __restrict__ parts,
                                   float eps, float slope, int n, int h, int w, int c, int side, int stride, int pad, int lanes) {
  backward_sums<float, 1>(x, mean, var, gamma, beta, argmax, dy, parts, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_backward_sums_bf16x8(const bf16* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                                   const float* __restrict__ gamma, const float* __restrict__ beta,
                                   const unsigned char* __restrict__ argmax, const bf16* __restrict__ dy, float* __restrict__ parts,
                                   float eps, float slope, int n, int h, int w, int c, int side, int stride, int pad, int lanes) {
  backward_sums<bf16, 8>(x, mean, var, gamma, beta, argmax, dy, parts, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_backward_sums_bf16x1(const bf16* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                                   const float* __restrict__ gamma, const float* __restrict__ beta,
                                   const unsigned char* __restrict__ argmax, const bf16* __restrict__ dy, float* __restrict__ parts,
                                   float eps, float slope, int n, int h, int w, int c, int side, int stride, int pad, int lanes) {
  backward_sums<bf16, 1>(x, mean, var, gamma, beta, argmax, dy, parts, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

// Backward, second pass: adds the tiles' sums in a fixed order. Writes dgamma and dbeta (null: not wanted), and into `totals` [2][c] what the
// third pass subtracts per pixel: rstd * dgamma / pixels and dbeta / pixels.
//
// Launch: ⌈c / 8⌉ blocks, 256 threads, one warp per channel. No shared memory. Bound: launch, or the bytes of `parts`.
extern "C" __global__ void __launch_bounds__(THREADS)
norm_act_pool_backward_merge(const float* __restrict__ parts, const float* __restrict__ var, float* dgamma, float* dbeta, float* totals,
                             float eps, int pixels, int c) {
  kernels_before();
  const int channel = (blockIdx.x * THREADS + threadIdx.x) / 32, lane = threadIdx.x % 32;
  const bool live = channel < c;
  const int tiles = (pixels + TILE - 1) / TILE;
  float product = 0.0f, sum = 0.0f;
  if (live) {
    for (int tile = lane; tile < tiles; tile += 32) {
      product += parts[(size_t)tile * 2 * c + channel];
      sum += parts[((size_t)tile * 2 + 1) * c + channel];
    }
  }
  product = warp_sum(product);
  sum = warp_sum(sum);
  if (live && lane == 0) {
    const float rstd = 1.0f / sqrtf(var[channel] + eps);
    if (dgamma) dgamma[channel] = product * rstd;
    if (dbeta) dbeta[channel] = sum;
    totals[channel] = product * rstd * (rstd / (float)pixels);
    totals[c + channel] = sum / (float)pixels;
  }
}

// Backward, third pass: dx = scale * (d - dbeta / M - (x - mean) * rstd * dgamma / M) for M pixels. If the norm's statistics are fixed or there
// is no norm, this is the only pass: `totals` is null, and dx = scale * d.
//
// Launch: as the first pass. No shared memory. Bound: the bytes of x, dy and dx.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_backward_f32x4(const float* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                              const float* __restrict__ gamma, const float* __restrict__ beta,
                              const unsigned char* __restrict__ argmax, const float* __restrict__ dy,
                              const float* __restrict__ totals, float* __restrict__ dx, float eps, float slope, int n, int h, int w,
                              int c, int side, int stride, int pad, int lanes) {
  backward<float, 4>(x, mean, var, gamma, beta, argmax, dy, totals, dx, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_backward_f32x1(const float* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                              const float* __restrict__ gamma, const float* __restrict__ beta,
                              const unsigned char* __restrict__ argmax, const float* __restrict__ dy,
                              const float* __restrict__ totals, float* __restrict__ dx, float eps, float slope, int n, int h, int w,
                              int c, int side, int stride, int pad, int lanes) {
  backward<float, 1>(x, mean, var, gamma, beta, argmax, dy, totals, dx, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_backward_bf16x8(const bf16* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                              const float* __restrict__ gamma, const float* __restrict__ beta,
                              const unsigned char* __restrict__ argmax, const bf16* __restrict__ dy,
                              const float* __restrict__ totals, bf16* __restrict__ dx, float eps, float slope, int n, int h, int w,
                              int c, int side, int stride, int pad, int lanes) {
  backward<bf16, 8>(x, mean, var, gamma, beta, argmax, dy, totals, dx, eps, slope, n, h, w, c, side, stride, pad, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
norm_act_pool_backward_bf16x1(const bf16* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                              const float* __restrict__ gamma, const float* __restrict__ beta,
                              const unsigned char* __restrict__ argmax, const bf16* __restrict__ dy,
                              const float* __restrict__ totals, bf16* __restrict__ dx, float eps, float slope, int n, int h, int w,
                              int c, int side, int stride, int pad, int lanes) {
  backward<bf16, 1>(x, mean, var, gamma, beta, argmax, dy, totals, dx, eps, slope, n, h, w, c, side, stride, pad, lanes);
}
