// The functions that ptx.cuh and portable.cuh write as PTX, each in a kernel that passes its inputs and outputs, for
// tests/cuda/primitives.rs. Each kernel is launched with one block, except the last three.
#include "ptx.cuh"

// ---- float to bf16

struct ToBf16Parameters {
  const float* x;
  unsigned short* y;
  int n;
};
__device__ __forceinline__ void to_bf16_case(const ToBf16Parameters& given) {
  kernels_before();
  for (int i = threadIdx.x; i < given.n; i += blockDim.x) given.y[i] = to_bf16(given.x[i]).bits;
}
KERNEL(primitive_to_bf16, ToBf16Parameters, (1024), to_bf16_case)

struct PackBf16Parameters {
  const float *lo, *hi;
  unsigned* y;
  int n;
};
__device__ __forceinline__ void pack_bf16_case(const PackBf16Parameters& given) {
  kernels_before();
  for (int i = threadIdx.x; i < given.n; i += blockDim.x) given.y[i] = pack_bf16(given.lo[i], given.hi[i]);
}
KERNEL(primitive_pack_bf16, PackBf16Parameters, (1024), pack_bf16_case)

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
struct LdmatrixParameters {
  const unsigned short* x;
  const int* rows;
  unsigned* y;
  int form;
};
// y [lanes, 4] = the registers that each lane gets of x [lanes, 8], whose rows lie at places `rows` of shared memory.
__device__ __forceinline__ void ldmatrix(const LdmatrixParameters& given) {
  kernels_before();
  load_matrices(given.x, given.rows, given.y, given.form);
}
KERNEL(primitive_ldmatrix, LdmatrixParameters, (32), SINCE_SM_80(ldmatrix))

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
struct MmaParameters {
  const unsigned *a, *b;
  float* d;
  int steps;
};
// d [lanes, 4] += Σ of the products of the registers a [steps, lanes, 4] and b [steps, lanes, 2].
__device__ __forceinline__ void mma(const MmaParameters& given) {
  kernels_before();
  products(given.a, given.b, given.d, given.steps);
}
KERNEL(primitive_mma, MmaParameters, (32), SINCE_SM_80(mma))

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
struct CpAsyncParameters {
  const unsigned char* x;
  const int* bytes;
  unsigned char* y;
  int whole;
};
// y [33 * 16] = shared memory after lane l has copied `bytes[l]` of 16 bytes from chunk 7 l of x, where `whole` all or none.
__device__ __forceinline__ void cp_async(const CpAsyncParameters& given) {
  kernels_before();
  copy_chunks(given.x, given.bytes, given.y, given.whole);
}
KERNEL(primitive_cp_async, CpAsyncParameters, (32), SINCE_SM_80(cp_async))

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
struct CpAsyncGroupsParameters {
  const unsigned* x;
  unsigned* y;
  int steps;
};
// y [steps, 128 chunks of 4] = x, with chunk t ^ 37 at place t, copied through a ring of four stages as in the convolutions.
__device__ __forceinline__ void cp_async_groups(const CpAsyncGroupsParameters& given) {
  kernels_before();
  copy_in_groups(reinterpret_cast<const uint4*>(given.x), reinterpret_cast<uint4*>(given.y), given.steps);
}
KERNEL(primitive_cp_async_groups, CpAsyncGroupsParameters, (128), SINCE_SM_80(cp_async_groups))

// ---- Programmatic dependent launch (PDL): one kernel changes x in place, slowly; the next ones read it.

struct ProduceParameters {
  unsigned* x;
  int steps;
};
// x = `steps` numbers further on in a sequence of random numbers.
__device__ __forceinline__ void produce(const ProduceParameters& given) {
  kernels_before();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  unsigned number = given.x[i];
  for (int step = 0; step < given.steps; step++) number = number * 1664525u + 1013904223u;
  given.x[i] = number;
}
KERNEL(primitive_produce, ProduceParameters, (1024), produce)

struct ConsumeParameters {
  unsigned *x, *y;
  int n;
};
// y = 31 y + x, of a place that another block has written.
__device__ __forceinline__ void consume(const ConsumeParameters& given) {
  kernels_before();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  given.y[i] = 31u * given.y[i] + given.x[(i + given.n / 2) % given.n];
}
KERNEL(primitive_consume, ConsumeParameters, (1024), consume)
struct ConsumeNcParameters {
  const unsigned* x;
  unsigned* y;
  int n;
};
// The same by ld.global.nc.
__device__ __forceinline__ void consume_nc(const ConsumeNcParameters& given) {
  kernels_before();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  given.y[i] = 31u * given.y[i] + __ldg(&given.x[(i + given.n / 2) % given.n]);
}
KERNEL(primitive_consume_nc, ConsumeNcParameters, (1024), consume_nc)
