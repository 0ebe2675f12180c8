// concat: up to four maps [pixels, channels] of f32 or bf16 side by side in one, and back. Part i has the channels from the end of the one
// before it to its own; the last end is the width of the joined map. One thread per 16 bytes of it, or per value where a part's channels
// allow no more. No shared memory. Bound: the bytes, each read and written once.
#include "vector.cuh"

constexpr int THREADS = 256;
constexpr int MOST_PARTS = 4;

// The ends of the first three parts, and the joined map [pixels, width].
struct Joined {
  int end_a, end_b, end_c, width, pixels;
};

template <class T>
struct ConcatParameters {
  const T *a, *b, *c, *d;
  T* y;
  Joined joined;
};

template <class T>
struct ConcatBackwardParameters {
  const T* dy;
  T *a, *b, *c, *d;
  Joined joined;
};

// A group of V values of the joined map: where it lies there, and in its part.
template <class T, int V>
struct Group {
  size_t joined, own;
  int part;

  __device__ __forceinline__ Group(size_t index, const Joined& map) : joined(index * V) {
    const size_t pixel = joined / map.width;
    const int channel = joined % map.width;
    part = channel < map.end_a ? 0 : channel < map.end_b ? 1 : channel < map.end_c ? 2 : MOST_PARTS - 1;
    const int first = part == 0 ? 0 : part == 1 ? map.end_a : part == 2 ? map.end_b : map.end_c;
    const int end = part == 0 ? map.end_a : part == 1 ? map.end_b : part == 2 ? map.end_c : map.width;
    own = pixel * (end - first) + channel - first;
  }

  __device__ __forceinline__ T* among(T* a, T* b, T* c, T* d) const { return part == 0 ? a : part == 1 ? b : part == 2 ? c : d; }
};

template <class T, int V>
static __device__ __forceinline__ void concat(const ConcatParameters<T>& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.joined.pixels * given.joined.width / V) return;
  const Group<const T, V> group(index, given.joined);
  store(given.y + group.joined, load<V>(group.among(given.a, given.b, given.c, given.d) + group.own));
}

// A part that is null is left out.
template <class T, int V>
static __device__ __forceinline__ void backward(const ConcatBackwardParameters<T>& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.joined.pixels * given.joined.width / V) return;
  const Group<T, V> group(index, given.joined);
  T* part = group.among(given.a, given.b, given.c, given.d);
  if (part) store(part + group.own, load<V>(given.dy + group.joined));
}

KERNEL(concat_f32x1, ConcatParameters<float>, (THREADS), concat<float, 1>)
KERNEL(concat_backward_f32x1, ConcatBackwardParameters<float>, (THREADS), backward<float, 1>)
KERNEL(concat_f32x4, ConcatParameters<float>, (THREADS), concat<float, 4>)
KERNEL(concat_backward_f32x4, ConcatBackwardParameters<float>, (THREADS), backward<float, 4>)
KERNEL(concat_bf16x1, ConcatParameters<bf16>, (THREADS), concat<bf16, 1>)
KERNEL(concat_backward_bf16x1, ConcatBackwardParameters<bf16>, (THREADS), backward<bf16, 1>)
KERNEL(concat_bf16x8, ConcatParameters<bf16>, (THREADS), concat<bf16, 8>)
KERNEL(concat_backward_bf16x8, ConcatBackwardParameters<bf16>, (THREADS), backward<bf16, 8>)
