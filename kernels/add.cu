// add: y = act(a + b) of values f32 or bf16, and the activation's gradient. One thread per 16 bytes, or per value where the count
// allows no more. No shared memory. Bound: the bytes of both operands and the result.
#include "vector.cuh"

constexpr int THREADS = 256;

template <class T>
struct AddParameters {
  const T *a, *b;
  T* y;
  float slope;
  int count;
};

template <class T>
struct AddBackwardParameters {
  const T *y, *dy;
  T* dx;
  float slope;
  int count;
};

// `count` groups of V values.
template <class T, int V>
static __device__ __forceinline__ void sum(const AddParameters<T>& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.count) return;
  const Floats<V> left = load<V>(given.a + index * V), right = load<V>(given.b + index * V);
  Floats<V> result;
#pragma unroll
  for (int i = 0; i < V; i++) {
    const float value = left.v[i] + right.v[i];
    result.v[i] = value > 0.0f ? value : given.slope * value;
  }
  store(given.y + index * V, result);
}

// dx = y > 0 ? dy : slope * dy.
template <class T, int V>
static __device__ __forceinline__ void backward(const AddBackwardParameters<T>& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.count) return;
  const Floats<V> values = load<V>(given.y + index * V), gradients = load<V>(given.dy + index * V);
  Floats<V> result;
#pragma unroll
  for (int i = 0; i < V; i++) result.v[i] = values.v[i] > 0.0f ? gradients.v[i] : given.slope * gradients.v[i];
  store(given.dx + index * V, result);
}

KERNEL(add_f32x1, AddParameters<float>, (THREADS), sum<float, 1>)
KERNEL(add_backward_f32x1, AddBackwardParameters<float>, (THREADS), backward<float, 1>)
KERNEL(add_f32x4, AddParameters<float>, (THREADS), sum<float, 4>)
KERNEL(add_backward_f32x4, AddBackwardParameters<float>, (THREADS), backward<float, 4>)
KERNEL(add_bf16x1, AddParameters<bf16>, (THREADS), sum<bf16, 1>)
KERNEL(add_backward_bf16x1, AddBackwardParameters<bf16>, (THREADS), backward<bf16, 1>)
KERNEL(add_bf16x8, AddParameters<bf16>, (THREADS), sum<bf16, 8>)
KERNEL(add_backward_bf16x8, AddBackwardParameters<bf16>, (THREADS), backward<bf16, 8>)
