// Receptive-field upsampling out = U a U^T of each map a [u, u] to [S, S], and its adjoint da = U^T dout U.
//
// U [S, u] is banded: U[o, i] = g[o + origin - i * jump] where that is one of the `size` values of g, else 0. Each of the two products is a
// kernel; the intermediate `wide` lies in the workspace.
//
// Launch of all: ⌈values of the result / 256⌉ blocks, 256 threads, one value per thread. No shared memory. Bound: the bytes of the larger
// maps, read or written once; the smaller operand stays in cache.
#include "portable.cuh"

constexpr int THREADS = 256;

struct Band {
  const float* g;
  int size, origin, jump;
};

// One of the two products: of maps [n, u, u] and [n, side, side], or of the rows of one of them with the columns of the other.
struct UpsampleParameters {
  const float* from;
  float* to;
  Band band;
  int n, u, side;
};

// Sources of output o: first and one past the last.
static __device__ __forceinline__ int first_source(const Band& t, int o) { return (max(o + t.origin - t.size + 1, 0) + t.jump - 1) / t.jump; }
static __device__ __forceinline__ int end_of_sources(const Band& t, int o, int u) {
  return o + t.origin < 0 ? 0 : min((o + t.origin) / t.jump + 1, u);
}
// Outputs of source i: first and one past the last.
static __device__ __forceinline__ int first_output(const Band& t, int i) { return max(i * t.jump - t.origin, 0); }
static __device__ __forceinline__ int end_of_outputs(const Band& t, int i, int side) { return min(max(i * t.jump - t.origin + t.size, 0), side); }

// wide [rows, S] = a [rows, u] U^T, rows = n u.
static __device__ __forceinline__ void widen_columns(const UpsampleParameters& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.n * given.u * given.side) return;
  const Band& band = given.band;
  const int o = index % given.side;
  const float* row = given.from + index / given.side * given.u;
  float sum = 0.0f;
  for (int i = first_source(band, o); i < end_of_sources(band, o, given.u); i++) {
    sum = fmaf(band.g[o + band.origin - i * band.jump], row[i], sum);
  }
  given.to[index] = sum;
}
KERNEL(upsample_columns, UpsampleParameters, (THREADS), widen_columns)

// out [n, S, S] = U wide [n, u, S].
static __device__ __forceinline__ void widen_rows(const UpsampleParameters& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.n * given.side * given.side) return;
  const Band& band = given.band;
  const int x = index % given.side, o = index / given.side % given.side;
  const float* image = given.from + index / ((size_t)given.side * given.side) * given.u * given.side + x;
  float sum = 0.0f;
  for (int i = first_source(band, o); i < end_of_sources(band, o, given.u); i++) {
    sum = fmaf(band.g[o + band.origin - i * band.jump], image[(size_t)i * given.side], sum);
  }
  given.to[index] = sum;
}
KERNEL(upsample_rows, UpsampleParameters, (THREADS), widen_rows)

// wide [n, u, S] = U^T dout [n, S, S].
static __device__ __forceinline__ void narrow_rows(const UpsampleParameters& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.n * given.u * given.side) return;
  const Band& band = given.band;
  const int x = index % given.side, i = index / given.side % given.u;
  const float* image = given.from + index / ((size_t)given.u * given.side) * given.side * given.side + x;
  float sum = 0.0f;
  for (int o = first_output(band, i); o < end_of_outputs(band, i, given.side); o++) {
    sum = fmaf(band.g[o + band.origin - i * band.jump], image[(size_t)o * given.side], sum);
  }
  given.to[index] = sum;
}
KERNEL(upsample_adjoint_rows, UpsampleParameters, (THREADS), narrow_rows)

// da [rows, u] = wide [rows, S] U, rows = n u.
static __device__ __forceinline__ void narrow_columns(const UpsampleParameters& given) {
  kernels_before();
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.n * given.u * given.u) return;
  const Band& band = given.band;
  const int i = index % given.u;
  const float* row = given.from + index / given.u * given.side;
  float sum = 0.0f;
  for (int o = first_output(band, i); o < end_of_outputs(band, i, given.side); o++) {
    sum = fmaf(band.g[o + band.origin - i * band.jump], row[o], sum);
  }
  given.to[index] = sum;
}
KERNEL(upsample_adjoint_columns, UpsampleParameters, (THREADS), narrow_columns)
