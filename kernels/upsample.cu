// Receptive-field upsampling out = U a U^T of each map a [u, u] to [S, S], and its adjoint da = U^T dout U.
//
// U [S, u] is banded: U[o, i] = g[o + origin - i * jump] where that is one of the `size` values of g, else 0. Each of the two products is a
// kernel; the intermediate `wide` lies in the workspace.
//
// Launch of all: ⌈values of the result / 256⌉ blocks, 256 threads, one value per thread. No shared memory. Bound: the bytes of the larger
// maps, read or written once; the smaller operand stays in cache.
#include "portable.cuh"

constexpr int THREADS = 256;

struct Taps {
  const float* g;
  int size, origin, jump;
};

// Sources of output o: first and one past the last.
static __device__ __forceinline__ int first_source(const Taps& t, int o) { return (max(o + t.origin - t.size + 1, 0) + t.jump - 1) / t.jump; }
static __device__ __forceinline__ int end_of_sources(const Taps& t, int o, int u) {
  return o + t.origin < 0 ? 0 : min((o + t.origin) / t.jump + 1, u);
}
// Outputs of source i: first and one past the last.
static __device__ __forceinline__ int first_output(const Taps& t, int i) { return max(i * t.jump - t.origin, 0); }
static __device__ __forceinline__ int end_of_outputs(const Taps& t, int i, int side) { return min(max(i * t.jump - t.origin + t.size, 0), side); }

// wide [rows, S] = a [rows, u] U^T, rows = n u.
extern "C" __global__ void __launch_bounds__(THREADS)
upsample_columns(const float* __restrict__ a, const float* __restrict__ g, float* wide, int rows, int u, int side, int size, int origin,
                 int jump) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)rows * side) return;
  const Taps taps = {g, size, origin, jump};
  const int o = index % side;
  const float* row = a + index / side * u;
  float sum = 0.0f;
  for (int i = first_source(taps, o); i < end_of_sources(taps, o, u); i++) sum = fmaf(g[o + origin - i * jump], row[i], sum);
  wide[index] = sum;
}

// out [n, S, S] = U wide [n, u, S].
extern "C" __global__ void __launch_bounds__(THREADS)
upsample_rows(const float* __restrict__ wide, const float* __restrict__ g, float* out, int n, int u, int side, int size, int origin, int jump) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)n * side * side) return;
  const Taps taps = {g, size, origin, jump};
  const int x = index % side, o = index / side % side;
  const float* image = wide + index / ((size_t)side * side) * u * side + x;
  float sum = 0.0f;
  for (int i = first_source(taps, o); i < end_of_sources(taps, o, u); i++) {
    sum = fmaf(g[o + origin - i * jump], image[(size_t)i * side], sum);
  }
  out[index] = sum;
}

// wide [n, u, S] = U^T dout [n, S, S].
extern "C" __global__ void __launch_bounds__(THREADS)
upsample_adjoint_rows(const float* __restrict__ dout, const float* __restrict__ g, float* wide, int n, int u, int side, int size, int origin,
                      int jump) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)n * u * side) return;
  const Taps taps = {g, size, origin, jump};
  const int x = index % side, i = index / side % u;
  const float* image = dout + index / ((size_t)u * side) * side * side + x;
  float sum = 0.0f;
  for (int o = first_output(taps, i); o < end_of_outputs(taps, i, side); o++) {
    sum = fmaf(g[o + origin - i * jump], image[(size_t)o * side], sum);
  }
  wide[index] = sum;
}

// da [rows, u] = wide [rows, S] U, rows = n u.
extern "C" __global__ void __launch_bounds__(THREADS)
upsample_adjoint_columns(const float* __restrict__ wide, const float* __restrict__ g, float* da, int rows, int u, int side, int size,
                         int origin, int jump) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)rows * u) return;
  const Taps taps = {g, size, origin, jump};
  const int i = index % u;
  const float* row = wide + index / u * side;
  float sum = 0.0f;
  for (int o = first_output(taps, i); o < end_of_outputs(taps, i, side); o++) sum = fmaf(g[o + origin - i * jump], row[o], sum);
  da[index] = sum;
}
