// The head of an FCDD net in one pass: 1×1 convolution to one channel, anomaly map, score and loss; and its backward pass.
//
// z[p] = b + Σ_c x[p, c] · w[c]; a = z² / (√(z² + 1) + 1), which is √(z² + 1) − 1 without cancellation; the score of an image is the mean
// of a. With labels also the loss of each image and its gradient by z. x [n, pixels, c] holds f32 or bf16, all else is f32.
#include "fcdd_loss.cuh"
#include "reduce.cuh"
#include "vector.cuh"

constexpr int THREADS = 256;
// Pixels per partial sum of the backward pass.
constexpr int TILE = 256;

template <class T, int V>
__device__ __forceinline__ void head(const T* __restrict__ x, const float* __restrict__ weights, const float* __restrict__ bias,
                                     float* __restrict__ z, float* __restrict__ a, float* __restrict__ score,
                                     const float* __restrict__ labels, float* __restrict__ loss, float* __restrict__ dz, int n,
                                     int pixels, int c, int lanes) {
  kernels_before();
  __shared__ float parts[32];
  const size_t image = (size_t)blockIdx.x * pixels;
  const int lane = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = THREADS / lanes;
  float sum = 0.0f;
  // Threads without a pixel of their own take part too: the shuffles below need all lanes.
  for (int first = 0; first < pixels; first += rows) {
    const int pixel = first + row;
    float value = 0.0f;
    if (pixel < pixels) {
      const T* at = x + (image + pixel) * c;
      for (int channel = lane * V; channel < c; channel += lanes * V) {
        const Floats<V> values = load<V>(at + channel);
#pragma unroll
        for (int i = 0; i < V; i++) value = fmaf(values.v[i], weights[channel + i], value);
      }
    }
    for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    if (pixel < pixels && lane == 0) {
      value += bias ? bias[0] : 0.0f;
      const float square = value * value, huber = square / (sqrtf(square + 1.0f) + 1.0f);
      z[image + pixel] = value;
      a[image + pixel] = huber;
      sum += huber;
    }
  }
  const float s = block_sum(sum, parts) / (float)pixels;
  if (threadIdx.x == 0) score[blockIdx.x] = s;
  if (!labels) return;
  // A batch in which all labels are equal trains as if all images were normal.
  float others = 0.0f;
  for (int i = threadIdx.x; i < n; i += THREADS) others += labels[i] != labels[0] ? 1.0f : 0.0f;
  const bool mixed = block_sum(others, parts) > 0.0f;
  const Loss found = labels[blockIdx.x] > 0.0f && mixed ? anomalous_loss(s) : Loss{s, 1.0f};
  if (threadIdx.x == 0) loss[blockIdx.x] = found.value;
  const float factor = found.slope * (float)(1.0 / ((double)n * pixels));
  // The barriers of the sums above have made every z visible to the block.
  for (int i = threadIdx.x; i < pixels; i += THREADS) dz[image + i] = factor * pseudo_huber_slope(z[image + i]);
}

template <class T, int V>
__device__ __forceinline__ void head_backward(const T* __restrict__ x, const float* __restrict__ weights,
                                              const float* __restrict__ dz, T* __restrict__ dx, float* __restrict__ sums, int pixels,
                                              int c, int lanes) {
  kernels_before();
  __shared__ Floats<V> parts[THREADS];
  const Walk<V, THREADS, TILE> walk(pixels, c, lanes);
  Floats<V> dw, weight;
  Floats<1> db = {{0.0f}};
#pragma unroll
  for (int i = 0; i < V; i++) {
    dw.v[i] = 0.0f;
    weight.v[i] = walk.live ? weights[walk.channel + i] : 0.0f;
  }
  if (walk.live) {
    for (int pixel = walk.first + walk.row; pixel < walk.last; pixel += walk.rows) {
      const float d = dz[pixel];
      const size_t index = (size_t)pixel * c + walk.channel;
      const Floats<V> values = load<V>(x + index);
      Floats<V> result;
#pragma unroll
      for (int i = 0; i < V; i++) {
        dw.v[i] = fmaf(d, values.v[i], dw.v[i]);
        result.v[i] = d * weight.v[i];
      }
      if (dx) store(dx + index, result);
      db.v[0] += d;
    }
  }
  dw = column_sums(dw, parts, lanes);
  db = column_sums(db, reinterpret_cast<Floats<1>*>(parts), lanes);
  if (!walk.live || walk.row > 0) return;
  float* share = sums + (size_t)blockIdx.x * (c + 1);
#pragma unroll
  for (int i = 0; i < V; i++) share[walk.channel + i] = dw.v[i];
  if (walk.channel == 0) share[c] = db.v[0];
}

// Forward. `labels`, `loss` and `dz` are null in inference.
//
// Launch: one block of 256 threads per image; `lanes` threads (a power of two up to 32) share a pixel. Shared memory, static: 128 bytes.
// Bound: the bytes of x.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
head_f32x4(const float* __restrict__ x, const float* __restrict__ weights, const float* __restrict__ bias, float* __restrict__ z,
     float* __restrict__ a, float* __restrict__ score, const float* __restrict__ labels, float* __restrict__ loss,
     float* __restrict__ dz, int n, int pixels, int c, int lanes) {
  head<float, 4>(x, weights, bias, z, a, score, labels, loss, dz, n, pixels, c, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
head_f32x1(const float* __restrict__ x, const float* __restrict__ weights, const float* __restrict__ bias, float* __restrict__ z,
     float* __restrict__ a, float* __restrict__ score, const float* __restrict__ labels, float* __restrict__ loss,
     float* __restrict__ dz, int n, int pixels, int c, int lanes) {
  head<float, 1>(x, weights, bias, z, a, score, labels, loss, dz, n, pixels, c, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
head_bf16x8(const bf16* __restrict__ x, const float* __restrict__ weights, const float* __restrict__ bias, float* __restrict__ z,
     float* __restrict__ a, float* __restrict__ score, const float* __restrict__ labels, float* __restrict__ loss,
     float* __restrict__ dz, int n, int pixels, int c, int lanes) {
  head<bf16, 8>(x, weights, bias, z, a, score, labels, loss, dz, n, pixels, c, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
head_bf16x1(const bf16* __restrict__ x, const float* __restrict__ weights, const float* __restrict__ bias, float* __restrict__ z,
     float* __restrict__ a, float* __restrict__ score, const float* __restrict__ labels, float* __restrict__ loss,
     float* __restrict__ dz, int n, int pixels, int c, int lanes) {
  head<bf16, 1>(x, weights, bias, z, a, score, labels, loss, dz, n, pixels, c, lanes);
}

// Backward: dx = dz · w (null: not wanted), and partial sums of dw and db over 256 pixels each, sums [⌈pixels / 256⌉][c + 1]. `pixels` is
// the number of pixels in the batch.
//
// Launch: ⌈pixels / 256⌉ blocks in x, ⌈c / V / lanes⌉ in y, 256 threads: `lanes` threads side by side, each with V channels. Shared memory,
// static: V KiB. Bound: the bytes of x and dx.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
head_backward_f32x4(const float* __restrict__ x, const float* __restrict__ weights, const float* __restrict__ dz, float* __restrict__ dx,
     float* __restrict__ sums, int pixels, int c, int lanes) {
  head_backward<float, 4>(x, weights, dz, dx, sums, pixels, c, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
head_backward_f32x1(const float* __restrict__ x, const float* __restrict__ weights, const float* __restrict__ dz, float* __restrict__ dx,
     float* __restrict__ sums, int pixels, int c, int lanes) {
  head_backward<float, 1>(x, weights, dz, dx, sums, pixels, c, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
head_backward_bf16x8(const bf16* __restrict__ x, const float* __restrict__ weights, const float* __restrict__ dz, bf16* __restrict__ dx,
     float* __restrict__ sums, int pixels, int c, int lanes) {
  head_backward<bf16, 8>(x, weights, dz, dx, sums, pixels, c, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
head_backward_bf16x1(const bf16* __restrict__ x, const float* __restrict__ weights, const float* __restrict__ dz, bf16* __restrict__ dx,
     float* __restrict__ sums, int pixels, int c, int lanes) {
  head_backward<bf16, 1>(x, weights, dz, dx, sums, pixels, c, lanes);
}
