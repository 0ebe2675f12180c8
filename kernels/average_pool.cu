// average_pool: the mean over windows of maps [n, h, w, c] of f32 or bf16 without padding, and its gradient. Sums are f32. One thread per 16
// bytes of what is written, or per value where the channels allow no more. No shared memory. Bound: the bytes of both maps; neighbouring
// windows read shared pixels from the cache.
#include "vector.cuh"

constexpr int THREADS = 256;

// Of the larger maps, and the windows.
struct AveragePoolShape {
  int n, h, w, c, side, stride;
};

template <class T>
struct AveragePoolParameters {
  const T* x;
  T* y;
  AveragePoolShape shape;
};

template <class T>
struct AveragePoolBackwardParameters {
  const T* dy;
  T* dx;
  AveragePoolShape shape;
};

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
static __device__ __forceinline__ void forward(const AveragePoolParameters<T>& given) {
  const AveragePoolShape& shape = given.shape;
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  const int oh = (shape.h - shape.side) / shape.stride + 1, ow = (shape.w - shape.side) / shape.stride + 1, groups = shape.c / V;
  if (index >= (size_t)shape.n * oh * ow * groups) return;
  const int group = index % groups;
  const size_t pixel = index / groups;
  const int q = pixel % ow, p = pixel / ow % oh;
  const size_t image = pixel / ((size_t)oh * ow);
  Floats<V> sum{};
  for (int r = 0; r < shape.side; r++) {
    const T* row = given.x + ((image * shape.h + p * shape.stride + r) * shape.w + q * shape.stride) * shape.c + group * V;
    for (int s = 0; s < shape.side; s++) add<V>(sum, load<V>(row + (size_t)s * shape.c));
  }
  divide<V>(sum, (float)(shape.side * shape.side));
  store(given.y + index * V, sum);
}

// dx[n, i, j, c] = the sum of dy over the windows that hold (i, j), divided by side * side.
template <class T, int V>
static __device__ __forceinline__ void backward(const AveragePoolBackwardParameters<T>& given) {
  const AveragePoolShape& shape = given.shape;
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  const int oh = (shape.h - shape.side) / shape.stride + 1, ow = (shape.w - shape.side) / shape.stride + 1, groups = shape.c / V;
  if (index >= (size_t)shape.n * shape.h * shape.w * groups) return;
  const int group = index % groups;
  const size_t pixel = index / groups;
  const int j = pixel % shape.w, i = pixel / shape.w % shape.h;
  const size_t image = pixel / ((size_t)shape.h * shape.w);
  const int first_p = max(i + 1 - shape.side + shape.stride - 1, 0) / shape.stride, last_p = min(i / shape.stride, oh - 1);
  const int first_q = max(j + 1 - shape.side + shape.stride - 1, 0) / shape.stride, last_q = min(j / shape.stride, ow - 1);
  Floats<V> sum{};
  for (int p = first_p; p <= last_p; p++) {
    const T* row = given.dy + (image * oh + p) * ow * shape.c + group * V;
    for (int q = first_q; q <= last_q; q++) add<V>(sum, load<V>(row + (size_t)q * shape.c));
  }
  divide<V>(sum, (float)(shape.side * shape.side));
  store(given.dx + index * V, sum);
}

KERNEL(average_pool_f32x1, AveragePoolParameters<float>, (THREADS), forward<float, 1>)
KERNEL(average_pool_backward_f32x1, AveragePoolBackwardParameters<float>, (THREADS), backward<float, 1>)
KERNEL(average_pool_f32x4, AveragePoolParameters<float>, (THREADS), forward<float, 4>)
KERNEL(average_pool_backward_f32x4, AveragePoolBackwardParameters<float>, (THREADS), backward<float, 4>)
KERNEL(average_pool_bf16x1, AveragePoolParameters<bf16>, (THREADS), forward<bf16, 1>)
KERNEL(average_pool_backward_bf16x1, AveragePoolBackwardParameters<bf16>, (THREADS), backward<bf16, 1>)
KERNEL(average_pool_bf16x8, AveragePoolParameters<bf16>, (THREADS), forward<bf16, 8>)
KERNEL(average_pool_backward_bf16x8, AveragePoolBackwardParameters<bf16>, (THREADS), backward<bf16, 8>)
