// The functions that ptx.cuh and portable.cuh write as PTX, each in a kernel that passes its inputs and outputs, for
// tests/cuda/primitives.rs. Each kernel is launched with one block, except the last three.
#include "ptx.cuh"

// ---- float to bf16

extern "C" __global__ void primitive_to_bf16(const float* x, unsigned short* y, int n) {
  kernels_before();
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = to_bf16(x[i]).bits;
}

extern "C" __global__ void primitive_pack_bf16(const float* lo, const float* hi, unsigned* y, int n) {
  kernels_before();
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = pack_bf16(lo[i], hi[i]);
}

// ---- ldmatrix

enum Form { X2, X2_TRANS, X4, X4_TRANS };

__device__ __forceinline__ void load_matrices(const unsigned short* x, const int* rows, unsigned* y, int form) {
  // Rows at scattered places, so that a lane that uses another lane's address is found.
  __shared__ __align__(16) unsigned short tile[32][24];
  const int lane = threadIdx.x;
  for (int i = 0; i < 8; i++) tile[rows[lane]][i] = x[8 * lane + i];
  __syncwarp();
  const void* row = tile[rows[lane]];
  unsigned two[2] = {}, four[4] = {};
  if (form == X2) ldmatrix_x2(two, row);
  if (form == X2_TRANS) ldmatrix_x2_trans(two, row);
  if (form == X4) ldmatrix_x4(four, row);
  if (form == X4_TRANS) ldmatrix_x4_trans(four, row);
  for (int i = 0; i < 4; i++) y[4 * lane + i] = form >= X4 ? four[i] : i < 2 ? two[i] : 0;
}
// y [lanes, 4] = the registers that each lane gets of x [lanes, 8], whose rows lie at places `rows` of shared memory.
extern "C" __global__ void __launch_bounds__(32) primitive_ldmatrix(const unsigned short* x, const int* rows, unsigned* y, int form) {
  kernels_before();
  SINCE_SM_80(load_matrices(x, rows, y, form));
}

// ---- mma

__device__ __forceinline__ void products(const unsigned* a, const unsigned* b, float* d, int steps) {
  const int lane = threadIdx.x;
  float sums[4];
  for (int i = 0; i < 4; i++) sums[i] = d[4 * lane + i];
  for (int step = 0; step < steps; step++) {
    unsigned ra[4], rb[2];
    for (int i = 0; i < 4; i++) ra[i] = a[(step * 32 + lane) * 4 + i];
    for (int i = 0; i < 2; i++) rb[i] = b[(step * 32 + lane) * 2 + i];
    mma_bf16_16816(sums, ra, rb);
  }
  for (int i = 0; i < 4; i++) d[4 * lane + i] = sums[i];
}
// d [lanes, 4] += Σ of the products of the registers a [steps, lanes, 4] and b [steps, lanes, 2].
extern "C" __global__ void __launch_bounds__(32) primitive_mma(const unsigned* a, const unsigned* b, float* d, int steps) {
  kernels_before();
  SINCE_SM_80(products(a, b, d, steps));
}

// ---- cp.async

__device__ __forceinline__ void copy_chunks(const unsigned char* x, const int* bytes, unsigned char* y, int whole) {
  __shared__ __align__(16) unsigned char tile[33 * 16];
  const int lane = threadIdx.x;
  for (int i = lane; i < 33 * 16; i += 32) tile[i] = 0xee;
  __syncthreads();
  unsigned char* to = tile + lane * 16;
  // From scattered addresses, so that a lane that uses another lane's address is found.
  const unsigned char* from = x + lane * 7 % 32 * 16;
  if (whole) {
    cp_async16(to, from, bytes[lane] > 0);
  } else {
    cp_async16_partial(to, from, bytes[lane]);
  }
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  for (int i = lane; i < 33 * 16; i += 32) y[i] = tile[i];
}
// y [33 * 16] = shared memory after lane l has copied `bytes[l]` of 16 bytes from chunk 7 l of x, where `whole` all or none.
extern "C" __global__ void __launch_bounds__(32)
    primitive_cp_async(const unsigned char* x, const int* bytes, unsigned char* y, int whole) {
  kernels_before();
  SINCE_SM_80(copy_chunks(x, bytes, y, whole));
}

__device__ __forceinline__ void copy_in_groups(const uint4* x, uint4* y, int steps) {
  constexpr int STAGES = 4;
  __shared__ uint4 ring[STAGES][128];
  const int t = threadIdx.x;
  auto begin = [&](int step) {
    if (step < steps) cp_async16(&ring[step % STAGES][t], &x[step * 128 + t]);
    cp_async_commit();
  };
  for (int step = 0; step < STAGES - 1; step++) begin(step);
  for (int step = 0; step < steps; step++) {
    cp_async_wait<STAGES - 2>();
    // All threads' copies are visible, and the stage of the previous step has been read.
    __syncthreads();
    y[step * 128 + t] = ring[step % STAGES][t ^ 37];
    begin(step + STAGES - 1);
  }
  cp_async_wait<0>();
}
// y [steps, 128 chunks of 4] = x, with chunk t ^ 37 at place t, copied through a ring of four stages as in the convolutions.
extern "C" __global__ void __launch_bounds__(128) primitive_cp_async_groups(const unsigned* x, unsigned* y, int steps) {
  kernels_before();
  SINCE_SM_80(copy_in_groups(reinterpret_cast<const uint4*>(x), reinterpret_cast<uint4*>(y), steps));
}

// ---- Programmatic dependent launch (PDL): one kernel changes x in place, slowly; the next ones read it.

// x = `steps` numbers further on in a sequence of random numbers.
extern "C" __global__ void primitive_produce(unsigned* x, int steps) {
  kernels_before();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  unsigned number = x[i];
  for (int step = 0; step < steps; step++) number = number * 1664525u + 1013904223u;
  x[i] = number;
}

// y = 31 y + x, of a place that another block has written.
extern "C" __global__ void primitive_consume(unsigned* x, unsigned* y, int n) {
  kernels_before();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i] = 31u * y[i] + x[(i + n / 2) % n];
}
// The same by ld.global.nc.
extern "C" __global__ void primitive_consume_nc(const unsigned* __restrict__ x, unsigned* __restrict__ y, int n) {
  kernels_before();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i] = 31u * y[i] + __ldg(&x[(i + n / 2) % n]);
}
