// concat: up to four maps [pixels, channels] of f32 or bf16 side by side in one, and back. Part i has the channels from the end of the one
// before it to its own; the last end is the width of the joined map. One thread per 16 bytes of it, or per value where a part's channels
// allow no more. No shared memory. Bound: the bytes, each read and written once.
#include "vector.cuh"

constexpr int THREADS = 256;
constexpr int MOST_PARTS = 4;

// A group of V values of the joined map: where it lies there, and in its part.
template <class T, int V>
struct Group {
  size_t joined, own;
  int part;

  __device__ __forceinline__ Group(size_t index, int end_a, int end_b, int end_c, int width) : joined(index * V) {
    const size_t pixel = joined / width;
    const int channel = joined % width;
    part = channel < end_a ? 0 : channel < end_b ? 1 : channel < end_c ? 2 : MOST_PARTS - 1;
    const int first = part == 0 ? 0 : part == 1 ? end_a : part == 2 ? end_b : end_c;
    const int end = part == 0 ? end_a : part == 1 ? end_b : part == 2 ? end_c : width;
    own = pixel * (end - first) + channel - first;
  }

  __device__ __forceinline__ T* among(T* a, T* b, T* c, T* d) const { return part == 0 ? a : part == 1 ? b : part == 2 ? c : d; }
};

template <class T, int V>
static __device__ __forceinline__ void concat(const T* a, const T* b, const T* c, const T* d, T* y, int end_a, int end_b, int end_c,
                                              int width, int pixels) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)pixels * width / V) return;
  const Group<const T, V> group(index, end_a, end_b, end_c, width);
  store(y + group.joined, load<V>(group.among(a, b, c, d) + group.own));
}

// A part that is null is left out.
template <class T, int V>
static __device__ __forceinline__ void backward(const T* dy, T* a, T* b, T* c, T* d, int end_a, int end_b, int end_c, int width,
                                                int pixels) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)pixels * width / V) return;
  const Group<T, V> group(index, end_a, end_b, end_c, width);
  T* part = group.among(a, b, c, d);
  if (part) store(part + group.own, load<V>(dy + group.joined));
}

extern "C" __global__ void __launch_bounds__(THREADS)
concat_f32x1(const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ c, const float* __restrict__ d,
  float* __restrict__ y, int end_a, int end_b, int end_c, int width, int pixels) {
  concat<float, 1>(a, b, c, d, y, end_a, end_b, end_c, width, pixels);
}
extern "C" __global__ void __launch_bounds__(THREADS)
concat_backward_f32x1(const float* __restrict__ dy, float* __restrict__ a, float* __restrict__ b, float* __restrict__ c, float* __restrict__ d,
  int end_a, int end_b, int end_c, int width, int pixels) {
  backward<float, 1>(dy, a, b, c, d, end_a, end_b, end_c, width, pixels);
}

extern "C" __global__ void __launch_bounds__(THREADS)
concat_f32x4(const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ c, const float* __restrict__ d,
  float* __restrict__ y, int end_a, int end_b, int end_c, int width, int pixels) {
  concat<float, 4>(a, b, c, d, y, end_a, end_b, end_c, width, pixels);
}
extern "C" __global__ void __launch_bounds__(THREADS)
concat_backward_f32x4(const float* __restrict__ dy, float* __restrict__ a, float* __restrict__ b, float* __restrict__ c, float* __restrict__ d,
  int end_a, int end_b, int end_c, int width, int pixels) {
  backward<float, 4>(dy, a, b, c, d, end_a, end_b, end_c, width, pixels);
}

extern "C" __global__ void __launch_bounds__(THREADS)
concat_bf16x1(const bf16* __restrict__ a, const bf16* __restrict__ b, const bf16* __restrict__ c, const bf16* __restrict__ d,
  bf16* __restrict__ y, int end_a, int end_b, int end_c, int width, int pixels) {
  concat<bf16, 1>(a, b, c, d, y, end_a, end_b, end_c, width, pixels);
}
extern "C" __global__ void __launch_bounds__(THREADS)
concat_backward_bf16x1(const bf16* __restrict__ dy, bf16* __restrict__ a, bf16* __restrict__ b, bf16* __restrict__ c, bf16* __restrict__ d,
  int end_a, int end_b, int end_c, int width, int pixels) {
  backward<bf16, 1>(dy, a, b, c, d, end_a, end_b, end_c, width, pixels);
}

extern "C" __global__ void __launch_bounds__(THREADS)
concat_bf16x8(const bf16* __restrict__ a, const bf16* __restrict__ b, const bf16* __restrict__ c, const bf16* __restrict__ d,
  bf16* __restrict__ y, int end_a, int end_b, int end_c, int width, int pixels) {
  concat<bf16, 8>(a, b, c, d, y, end_a, end_b, end_c, width, pixels);
}
extern "C" __global__ void __launch_bounds__(THREADS)
concat_backward_bf16x8(const bf16* __restrict__ dy, bf16* __restrict__ a, bf16* __restrict__ b, bf16* __restrict__ c, bf16* __restrict__ d,
  int end_a, int end_b, int end_c, int width, int pixels) {
  backward<bf16, 8>(dy, a, b, c, d, end_a, end_b, end_c, width, pixels);
}
