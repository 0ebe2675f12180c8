// add: y = act(a + b) of values f32 or bf16, and the activation's gradient. One thread per 16 bytes, or per value where the count
// allows no more. No shared memory. Bound: the bytes of both operands and the result.
#include "vector.cuh"

constexpr int THREADS = 256;

// `count` groups of V values.
template <class T, int V>
static __device__ __forceinline__ void sum(const T* a, const T* b, T* y, float slope, int count) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)count) return;
  const Floats<V> left = load<V>(a + index * V), right = load<V>(b + index * V);
  Floats<V> result;
#pragma unroll
  for (int i = 0; i < V; i++) {
    const float value = left.v[i] + right.v[i];
    result.v[i] = value > 0.0f ? value : slope * value;
  }
  store(y + index * V, result);
}

// dx = y > 0 ? dy : slope * dy.
template <class T, int V>
static __device__ __forceinline__ void backward(const T* y, const T* dy, T* dx, float slope, int count) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)count) return;
  const Floats<V> values = load<V>(y + index * V), gradients = load<V>(dy + index * V);
  Floats<V> result;
#pragma unroll
  for (int i = 0; i < V; i++) result.v[i] = values.v[i] > 0.0f ? gradients.v[i] : slope * gradients.v[i];
  store(dx + index * V, result);
}

extern "C" __global__ void __launch_bounds__(THREADS)
add_f32x1(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ y, float slope, int count) {
  sum<float, 1>(a, b, y, slope, count);
}
extern "C" __global__ void __launch_bounds__(THREADS)
add_backward_f32x1(const float* __restrict__ y, const float* __restrict__ dy, float* __restrict__ dx, float slope, int count) {
  backward<float, 1>(y, dy, dx, slope, count);
}

extern "C" __global__ void __launch_bounds__(THREADS)
add_f32x4(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ y, float slope, int count) {
  sum<float, 4>(a, b, y, slope, count);
}
extern "C" __global__ void __launch_bounds__(THREADS)
add_backward_f32x4(const float* __restrict__ y, const float* __restrict__ dy, float* __restrict__ dx, float slope, int count) {
  backward<float, 4>(y, dy, dx, slope, count);
}

extern "C" __global__ void __launch_bounds__(THREADS)
add_bf16x1(const bf16* __restrict__ a, const bf16* __restrict__ b, bf16* __restrict__ y, float slope, int count) {
  sum<bf16, 1>(a, b, y, slope, count);
}
extern "C" __global__ void __launch_bounds__(THREADS)
add_backward_bf16x1(const bf16* __restrict__ y, const bf16* __restrict__ dy, bf16* __restrict__ dx, float slope, int count) {
  backward<bf16, 1>(y, dy, dx, slope, count);
}

extern "C" __global__ void __launch_bounds__(THREADS)
add_bf16x8(const bf16* __restrict__ a, const bf16* __restrict__ b, bf16* __restrict__ y, float slope, int count) {
  sum<bf16, 8>(a, b, y, slope, count);
}
extern "C" __global__ void __launch_bounds__(THREADS)
add_backward_bf16x8(const bf16* __restrict__ y, const bf16* __restrict__ dy, bf16* __restrict__ dx, float slope, int count) {
  backward<bf16, 8>(y, dy, dx, slope, count);
}
