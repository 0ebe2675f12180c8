// Planted faults. Each body is compiled twice: as sound_NAME and, with FAULTY true, as faulty_NAME with one fault. tests/checked.rs shows
// that the checked stand-in names the fault, and finds nothing in sound_NAME.
#include "wgmma.cuh"

#define TWINS(NAME)                                                                                              \
  extern "C" __global__ void __launch_bounds__(128) sound_##NAME(const float* x, float* y, int n) { NAME<false>(x, y, n); } \
  extern "C" __global__ void __launch_bounds__(128) faulty_##NAME(const float* x, float* y, int n) { NAME<true>(x, y, n); }
#define BODY template <bool FAULTY> static __device__ __forceinline__ void

// ---- shared memory

BODY missing_barrier(const float* x, float* y, int) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = x[t];
  if (!FAULTY) __syncthreads();
  y[t] = tile[(t + 1) & 127];
}
TWINS(missing_barrier)

// The next round's values are stored while slower threads still read this round's.
BODY write_after_read(const float* x, float* y, int) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  float sum = 0.f;
  for (int round = 0; round < 2; round++) {
    tile[t] = x[t] + round;
    __syncthreads();
    sum += tile[127 - t];
    if (!FAULTY) __syncthreads();
  }
  y[t] = sum;
}
TWINS(write_after_read)

BODY overwritten_too_early(const float* x, float* y, int) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = x[t];
  __syncthreads();
  const float next = tile[(t + 1) & 127];
  if (!FAULTY) __syncthreads();
  tile[t] = next;
  y[t] = tile[t];
}
TWINS(overwritten_too_early)

BODY race_between_warps(const float* x, float* y, int) {
  __shared__ float part[4];
  const int t = threadIdx.x, warp = t / 32;
  if (t % 32 == 0) part[FAULTY ? warp / 2 : warp] = x[t];
  if (FAULTY && t == 0) part[2] = part[3] = 0.f;
  __syncthreads();
  y[t] = part[warp];
}
TWINS(race_between_warps)

BODY missing_warp_barrier(const float* x, float* y, int) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = x[t];
  if (!FAULTY) __syncwarp();
  y[t] = tile[t ^ 1];
}
TWINS(missing_warp_barrier)

// A shuffle brings the lanes together, but does not order their stores.
BODY shuffle_is_no_fence(const float* x, float* y, int) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = x[t];
  const float other = __shfl_xor_sync(0xffffffffu, x[t], 1);
  y[t] = FAULTY ? tile[t ^ 1] : other;
}
TWINS(shuffle_is_no_fence)

BODY uninitialised_shared(const float* x, float* y, int) {
  __shared__ float tile[130];
  const int t = threadIdx.x;
  tile[t + 1] = x[t];
  if (t == 0) tile[0] = 0.f;
  if (!FAULTY && t == 0) tile[129] = 0.f;
  __syncthreads();
  y[t] = tile[t] + tile[t + 2];
}
TWINS(uninitialised_shared)

// A halo one element too narrow, accessed through a pointer: only the red zone after the array shows it.
BODY halo_off_by_one(const float* x, float* y, int) {
  __shared__ float tile[129];
  __shared__ float behind[128];
  const int t = threadIdx.x;
  float* p = tile;
  p[t] = x[t];
  behind[t] = 1.f;
  if (t == 0) p[128] = 0.f;
  __syncthreads();
  y[t] = p[t + (FAULTY ? 2 : 1)] + behind[t];
}
TWINS(halo_off_by_one)

// Column 16 of a row is column 0 of the next: within the array, and still wrong.
BODY index_beyond_row(const float* x, float* y, int) {
  __shared__ float tile[9][16];
  const int t = threadIdx.x, row = t / 16, column = t % 16;
  tile[row][column] = x[t];
  if (t < 16) tile[8][t] = 0.f;
  __syncthreads();
  y[t] = tile[row][FAULTY ? column + 1 : column];
}
TWINS(index_beyond_row)

BODY dynamic_shared_bounds(const float* x, float* y, int n) {
  DYN_SHARED(float, tile);  // n floats
  const int t = threadIdx.x;
  if (t < (FAULTY ? n + 1 : n)) tile[t] = x[t];
  __syncthreads();
  y[t] = t < n ? tile[t] : 0.f;
}
TWINS(dynamic_shared_bounds)

// ---- global memory

BODY missing_tail_check(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (FAULTY || i < n) y[i] = 1.f;
}
TWINS(missing_tail_check)

BODY read_one_beyond(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[FAULTY ? i + 1 : i];
}
TWINS(read_one_beyond)

BODY uninitialised_global(const float* x, float* y, int) {
  const int t = threadIdx.x;
  if (!FAULTY) y[t] = 0.f;
  y[t] += x[t];
}
TWINS(uninitialised_global)

BODY race_between_blocks(const float* x, float* y, int) {
  if (threadIdx.x) return;
  if (FAULTY)
    y[0] = x[blockIdx.x];
  else
    y[blockIdx.x] = x[blockIdx.x];
}
TWINS(race_between_blocks)

BODY lost_update(const float* x, float* y, int) {
  if (threadIdx.x == 0 && blockIdx.x == 0) y[0] = 0.f;
  __syncthreads();
  if (blockIdx.x) return;
  if (FAULTY)
    y[0] += x[threadIdx.x];
  else
    atomicAdd(y, x[threadIdx.x]);
}
TWINS(lost_update)

// The last block to finish adds up the results of the others; without the fence it may see old values.
BODY counter_without_fence(const float* x, float* y, int) {
  __shared__ unsigned place;
  if (threadIdx.x == 0) {
    y[1 + blockIdx.x] = x[blockIdx.x];
    if (!FAULTY) __threadfence();
    place = atomicAdd(reinterpret_cast<unsigned*>(y), 1u);
  }
  __syncthreads();
  if (place != gridDim.x - 1 || threadIdx.x) return;
  float sum = 0.f;
  for (unsigned i = 0; i < gridDim.x; i++) sum += y[1 + i];
  y[1 + gridDim.x] = sum;
}
TWINS(counter_without_fence)

BODY misaligned_vector(const float* x, float* y, int) {
  const int t = threadIdx.x;
  if (t > 30) return;
  const float4 v = *reinterpret_cast<const float4*>(x + 4 * t + (FAULTY ? 1 : 0));
  y[t] = v.x + v.w;
}
TWINS(misaligned_vector)

BODY index_overflow(const float* x, float* y, int n) {
  const int t = threadIdx.x, far = n * 1'000'000 * (FAULTY ? t : 0);
  y[t] = far < 0 ? 0.f : x[t];
}
TWINS(index_overflow)

// ---- barriers and collectives

BODY divergent_barrier(const float* x, float* y, int) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = x[t];
  if (FAULTY && t < 64) {
    __syncthreads();
    y[t] = tile[127 - t];
  } else {
    __syncthreads();
    y[t] = tile[127 - t];
  }
}
TWINS(divergent_barrier)

BODY barrier_in_a_branch(const float* x, float* y, int) {
  const int t = threadIdx.x;
  if (!FAULTY || t < 64) __syncthreads();
  y[t] = __shfl_xor_sync(0xffffffffu, x[t], 1);
  __syncwarp();
  if (!FAULTY || t < 32) __syncthreads();
  if (FAULTY && t >= 64) __syncthreads();
}
TWINS(barrier_in_a_branch)

BODY part_of_a_warp(const float* x, float* y, int) {
  const int t = threadIdx.x;
  float v = x[t];
  if (!FAULTY || t % 32 < 16) v += __shfl_xor_sync(0xffffffffu, v, 1);
  __syncthreads();
  y[t] = v;
}
TWINS(part_of_a_warp)

BODY wrong_mask(const float* x, float* y, int) {
  const int t = threadIdx.x;
  y[t] = __shfl_xor_sync(FAULTY ? 0x0000ffffu : 0xffffffffu, x[t], 1);
}
TWINS(wrong_mask)

BODY absent_lane(const float* x, float* y, int) {
  const int t = threadIdx.x;
  float v = x[t];
  if (t < 16) v = __shfl_down_sync(0x0000ffffu, v, 8, FAULTY ? 32 : 16);
  y[t] = v;
}
TWINS(absent_lane)

// ---- asynchronous copies and matrix instructions

BODY weak_wait(const float* x, float* y, int) {
  __shared__ __align__(16) float tile[2][128];
  const int t = threadIdx.x;
  for (int buffer = 0; buffer < 2; buffer++) {
    if (t % 4 == 0) cp_async16(&tile[buffer][t], x + t);
    cp_async_commit();
  }
  cp_async_wait<FAULTY ? 1 : 0>();
  __syncthreads();
  y[t] = tile[0][127 - t] + tile[1][127 - t];
  cp_async_wait<0>();
}
TWINS(weak_wait)

// The wait makes a thread's own copies visible to itself; others need the barrier.
BODY wait_without_barrier(const float* x, float* y, int) {
  __shared__ __align__(16) float tile[128];
  const int t = threadIdx.x;
  if (t % 4 == 0) cp_async16(&tile[t], x + t);
  cp_async_commit();
  cp_async_wait<0>();
  if (!FAULTY) __syncthreads();
  y[t] = tile[127 - t];
}
TWINS(wait_without_barrier)

BODY copy_into_read_buffer(const float* x, float* y, int) {
  __shared__ __align__(16) float tile[128];
  const int t = threadIdx.x;
  float sum = 0.f;
  for (int round = 0; round < 2; round++) {
    if (t % 4 == 0) cp_async16(&tile[t], x + t);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    sum += tile[127 - t];
    if (!FAULTY) __syncthreads();
  }
  y[t] = sum;
}
TWINS(copy_into_read_buffer)

BODY copy_beyond(const float* x, float* y, int n) {
  __shared__ __align__(16) float tile[512];
  const int t = threadIdx.x;
  cp_async16(tile + 4 * t, x + 4 * t, FAULTY ? 4 * t < n + 4 : 4 * t < n);
  cp_async_commit();
  cp_async_wait<0>();
  y[t] = tile[4 * t];
}
TWINS(copy_beyond)

BODY forgotten_copy(const float* x, float* y, int) {
  __shared__ __align__(16) float tile[128];
  const int t = threadIdx.x;
  if (t % 4 == 0) cp_async16(&tile[t], x + t);
  cp_async_commit();
  if (!FAULTY) cp_async_wait<0>();
  y[t] = x[t];
}
TWINS(forgotten_copy)

BODY misaligned_rows(const float* x, float* y, int) {
  __shared__ __align__(16) bf16 tile[32 * 24];
  const int t = threadIdx.x, pitch = FAULTY ? 20 : 24;
  for (int i = t; i < 32 * 24; i += 128) tile[i] = to_bf16(x[i & 127]);
  __syncthreads();
  unsigned r[4];
  ldmatrix_x4(r, tile + (t & 31) * pitch);
  y[t] = low_to_float(r[0]) + high_to_float(r[3]);
}
TWINS(misaligned_rows)

BODY ldmatrix_before_barrier(const float* x, float* y, int) {
  __shared__ __align__(16) bf16 tile[32 * 8];
  const int t = threadIdx.x;
  tile[t] = to_bf16(x[t]);
  tile[t + 128] = to_bf16(x[t]);
  if (!FAULTY) __syncthreads();
  unsigned r[2];
  ldmatrix_x2(r, tile + (t & 31) * 8);
  y[t] = low_to_float(r[0]) + high_to_float(r[1]);
}
TWINS(ldmatrix_before_barrier)

// A product of zeros by four warps, one step of the depth.
template <bool FENCED, bool WAITED> static __device__ __forceinline__ void product_of_zeros(const float* x, float* y) {
  __shared__ __align__(1024) uint4 tile[128 * 8];
  const int t = threadIdx.x;
  for (int i = 0; i < 8; i++) tile[t + 128 * i] = make_uint4(0, 0, 0, 0);
  __syncthreads();
  float sum[16][4] = {};
  if (FENCED) wgmma_fence();
  wgmma_64x128x16<false>(sum, k_major(tile), k_major(tile));
  wgmma_commit();
  if (WAITED) wgmma_wait<0>();
  y[t] = sum[0][0] + x[t];
}

BODY product_without_fence(const float* x, float* y, int) { product_of_zeros<!FAULTY, true>(x, y); }
TWINS(product_without_fence)

BODY forgotten_product(const float* x, float* y, int) { product_of_zeros<true, !FAULTY>(x, y); }
TWINS(forgotten_product)

BODY early_read(const float* x, float* y, int) {
  const int t = threadIdx.x;
  if (!FAULTY) kernels_before();
  y[t] = x[t];
}
TWINS(early_read)
