// average_pool: the mean over windows of maps [n, h, w, c] of f32 or bf16 without padding, and its gradient. Sums are f32. One thread per 16
// bytes of what is written, or per value where the channels allow no more. No shared memory. Bound: the bytes of both maps; neighbouring
// windows read shared pixels from the cache.
#include "vector.cuh"

constexpr int THREADS = 256;

template <int V>
static __device__ __forceinline__ void add(Floats<V>& sum, const Floats<V>& values) {
#pragma unroll
  for (int i = 0; i < V; i++) sum.v[i] += values.v[i];
}

template <int V>
static __device__ __forceinline__ void divide(Floats<V>& sum, float by) {
#pragma unroll
  for (int i = 0; i < V; i++) sum.v[i] /= by;
}

// y[n, p, q, c] = the sum of x[n, p * stride + r, q * stride + s, c] over the window, divided by side * side.
template <class T, int V>
static __device__ __forceinline__ void forward(const T* x, T* y, int n, int h, int w, int c, int side, int stride) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  const int oh = (h - side) / stride + 1, ow = (w - side) / stride + 1, groups = c / V;
  if (index >= (size_t)n * oh * ow * groups) return;
  const int group = index % groups;
  const size_t pixel = index / groups;
  const int q = pixel % ow, p = pixel / ow % oh;
  const size_t image = pixel / ((size_t)oh * ow);
  Floats<V> sum{};
  for (int r = 0; r < side; r++) {
    const T* row = x + ((image * h + p * stride + r) * w + q * stride) * c + group * V;
    for (int s = 0; s < side; s++) add<V>(sum, load<V>(row + (size_t)s * c));
  }
  divide<V>(sum, (float)(side * side));
  store(y + index * V, sum);
}

// dx[n, i, j, c] = the sum of dy over the windows that hold (i, j), divided by side * side.
template <class T, int V>
static __device__ __forceinline__ void backward(const T* dy, T* dx, int n, int h, int w, int c, int side, int stride) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  const int oh = (h - side) / stride + 1, ow = (w - side) / stride + 1, groups = c / V;
  if (index >= (size_t)n * h * w * groups) return;
  const int group = index % groups;
  const size_t pixel = index / groups;
  const int j = pixel % w, i = pixel / w % h;
  const size_t image = pixel / ((size_t)h * w);
  const int first_p = max(i + 1 - side + stride - 1, 0) / stride, last_p = min(i / stride, oh - 1);
  const int first_q = max(j + 1 - side + stride - 1, 0) / stride, last_q = min(j / stride, ow - 1);
  Floats<V> sum{};
  for (int p = first_p; p <= last_p; p++) {
    const T* row = dy + (image * oh + p) * ow * c + group * V;
    for (int q = first_q; q <= last_q; q++) add<V>(sum, load<V>(row + (size_t)q * c));
  }
  divide<V>(sum, (float)(side * side));
  store(dx + index * V, sum);
}

extern "C" __global__ void __launch_bounds__(THREADS)
average_pool_f32x1(const float* __restrict__ x, float* __restrict__ y, int n, int h, int w, int c, int side, int stride) {
  forward<float, 1>(x, y, n, h, w, c, side, stride);
}
extern "C" __global__ void __launch_bounds__(THREADS)
average_pool_backward_f32x1(const float* __restrict__ dy, float* __restrict__ dx, int n, int h, int w, int c, int side, int stride) {
  backward<float, 1>(dy, dx, n, h, w, c, side, stride);
}

extern "C" __global__ void __launch_bounds__(THREADS)
average_pool_f32x4(const float* __restrict__ x, float* __restrict__ y, int n, int h, int w, int c, int side, int stride) {
  forward<float, 4>(x, y, n, h, w, c, side, stride);
}
extern "C" __global__ void __launch_bounds__(THREADS)
average_pool_backward_f32x4(const float* __restrict__ dy, float* __restrict__ dx, int n, int h, int w, int c, int side, int stride) {
  backward<float, 4>(dy, dx, n, h, w, c, side, stride);
}

extern "C" __global__ void __launch_bounds__(THREADS)
average_pool_bf16x1(const bf16* __restrict__ x, bf16* __restrict__ y, int n, int h, int w, int c, int side, int stride) {
  forward<bf16, 1>(x, y, n, h, w, c, side, stride);
}
extern "C" __global__ void __launch_bounds__(THREADS)
average_pool_backward_bf16x1(const bf16* __restrict__ dy, bf16* __restrict__ dx, int n, int h, int w, int c, int side, int stride) {
  backward<bf16, 1>(dy, dx, n, h, w, c, side, stride);
}

extern "C" __global__ void __launch_bounds__(THREADS)
average_pool_bf16x8(const bf16* __restrict__ x, bf16* __restrict__ y, int n, int h, int w, int c, int side, int stride) {
  forward<bf16, 8>(x, y, n, h, w, c, side, stride);
}
extern "C" __global__ void __launch_bounds__(THREADS)
average_pool_backward_bf16x8(const bf16* __restrict__ dy, bf16* __restrict__ dx, int n, int h, int w, int c, int side, int stride) {
  backward<bf16, 8>(dy, dx, n, h, w, c, side, stride);
}
