// norm_act_pool: y = maxpool(activation(norm(x))) over NHWC maps in one pass, and its backward pass.
//
// The arithmetic is that of the CPU, operation by operation, so the winners of the pool are the same.
#include "reduce.cuh"

constexpr int TILE = 512;
constexpr int THREADS = 256;

// The norm as scale * x + shift; without a norm (mean null) the identity.
struct Affine {
  float scale, shift;
};

static __device__ __forceinline__ Affine affine(const float* mean, const float* var, const float* gamma, const float* beta, float eps,
                                                int channel) {
  if (!mean) return {1.0f, 0.0f};
  const float scale = (gamma ? gamma[channel] : 1.0f) / sqrtf(var[channel] + eps);
  return {scale, (beta ? beta[channel] : 0.0f) - mean[channel] * scale};
}

// Forward. One thread per value of y [n, oh, ow, c]; bound by the bytes of x and y. `argmax` (null: not wanted) gets the winning tap,
// the first among equals.
extern "C" __global__ void __launch_bounds__(THREADS)
norm_act_pool(const float* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var, const float* __restrict__ gamma,
              const float* __restrict__ beta, float* y, unsigned char* argmax, float eps, float slope, int n, int h, int w, int c, int side,
              int stride, int pad) {
  const int oh = (h + 2 * pad - side) / stride + 1, ow = (w + 2 * pad - side) / stride + 1;
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)n * oh * ow * c) return;
  const int channel = index % c;
  const size_t out = index / c;
  const int q = out % ow, p = out / ow % oh;
  const float* image = x + out / ((size_t)ow * oh) * h * w * c + channel;
  const Affine norm = affine(mean, var, gamma, beta, eps, channel);
  const int top = p * stride - pad, left = q * stride - pad;
  const int r0 = max(0, -top), r1 = min(side, h - top), s0 = max(0, -left), s1 = min(side, w - left);
  float best = -INFINITY;
  int winner = r0 * side + s0;
  for (int r = r0; r < r1; r++) {
    for (int s = s0; s < s1; s++) {
      const float normed = norm.scale * image[((size_t)(top + r) * w + left + s) * c] + norm.shift;
      const float value = normed > 0.0f ? normed : slope * normed;
      if (value > best || value != value) {
        best = value;
        winner = r * side + s;
      }
    }
  }
  y[index] = best;
  if (argmax) argmax[index] = (unsigned char)winner;
}

// Backward, first pass: dx gets dy brought back through pool and activation, gathered from the windows that each input won. Where
// the norm has batch statistics, `parts` [tiles][2][c] gets each tile's sums of dx * (x - mean) and of dx; else `parts` is null, and dx is
// final: times the norm's scale.
// Grid (tiles, channels / lanes), block THREADS = lanes x rows, `lanes` a power of two up to 32; 1 KiB of shared memory. Bound by the bytes
// of x, dy and dx. Three blocks per multiprocessor: left to itself, ptxas saves registers for sm_120 until one spills.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
norm_act_pool_backward_gather(const float* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                              const float* __restrict__ gamma, const float* __restrict__ beta, const unsigned char* __restrict__ argmax,
                              const float* __restrict__ dy, float* dx, float* parts, float eps, float slope, int n, int h, int w, int c,
                              int side, int stride, int pad, int lanes) {
  __shared__ float sums[THREADS];
  const int oh = (h + 2 * pad - side) / stride + 1, ow = (w + 2 * pad - side) / stride + 1;
  const int lane = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = THREADS / lanes;
  const int channel = blockIdx.y * lanes + lane;
  const int pixels = n * h * w, first = blockIdx.x * TILE, last = min(first + TILE, pixels);
  float product = 0.0f, sum = 0.0f;
  if (channel < c) {
    const Affine norm = affine(mean, var, gamma, beta, eps, channel);
    const float centre = mean ? mean[channel] : 0.0f;
    for (int pixel = first + row; pixel < last; pixel += rows) {
      const int j = pixel % w, i = pixel / w % h;
      const size_t image = (size_t)(pixel / (w * h)) * oh * ow;
      // Output p reads the input rows p * stride - pad ... p * stride - pad + side - 1.
      const int p0 = (max(i + pad + 1 - side, 0) + stride - 1) / stride, p1 = min((i + pad) / stride + 1, oh);
      const int q0 = (max(j + pad + 1 - side, 0) + stride - 1) / stride, q1 = min((j + pad) / stride + 1, ow);
      float d = 0.0f;
      for (int p = p0; p < p1; p++) {
        for (int q = q0; q < q1; q++) {
          const int tap = (i + pad - p * stride) * side + j + pad - q * stride;
          const size_t out = (image + (size_t)p * ow + q) * c + channel;
          if (argmax[out] == tap) d += dy[out];
        }
      }
      const float value = x[(size_t)pixel * c + channel];
      if (!(norm.scale * value + norm.shift > 0.0f)) d = slope * d;
      dx[(size_t)pixel * c + channel] = parts ? d : d * norm.scale;
      product = fmaf(d, value - centre, product);
      sum += d;
    }
  }
  if (!parts) return;
  product = column_sum(product, sums, lanes);
  sum = column_sum(sum, sums, lanes);
  if (channel < c && row == 0) {
    parts[((size_t)blockIdx.x * 2) * c + channel] = product;
    parts[((size_t)blockIdx.x * 2 + 1) * c + channel] = sum;
  }
}

// Backward, second pass: merges the tiles' sums, one warp per channel, in a fixed order. Writes dgamma and dbeta (null: not wanted), and
// into `totals` [2][c] what the third pass subtracts per pixel: rstd * dgamma / pixels and dbeta / pixels.
extern "C" __global__ void __launch_bounds__(THREADS)
norm_act_pool_backward_merge(const float* __restrict__ parts, const float* __restrict__ var, float* dgamma, float* dbeta, float* totals,
                             float eps, int pixels, int c) {
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

// Backward, third pass, in place: dx = scale * (dx - dbeta / M - (x - mean) * rstd * dgamma / M). One thread per value; bound by the bytes
// of x and dx.
extern "C" __global__ void __launch_bounds__(THREADS)
norm_act_pool_backward_apply(const float* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ var,
                             const float* __restrict__ gamma, const float* __restrict__ totals, float* dx, float eps, int pixels, int c) {
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)pixels * c) return;
  const int channel = index % c;
  const float scale = (gamma ? gamma[channel] : 1.0f) / sqrtf(var[channel] + eps);
  dx[index] = scale * (dx[index] - totals[c + channel] - (x[index] - mean[channel]) * totals[channel]);
}
