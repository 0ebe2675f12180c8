// Sums over the threads of a block, in an order that depends on the block's size alone.
#pragma once
#include "portable.cuh"

// Sum over a warp, in every lane (butterfly).
static __device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// Sum over the block: pairwise inside each warp, then over the warps. Every thread gets it. `parts` holds 32 values in shared memory;
// the block's threads are a multiple of 32.
static __device__ __forceinline__ float block_sum(float value, float* parts) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  value = warp_sum(value);
  __syncthreads();  // a former sum may still be read
  if (lane == 0) parts[warp] = value;
  __syncthreads();
  return warp_sum(lane < (int)(blockDim.x / 32) ? parts[lane] : 0.0f);
}

// Sum over the threads that share `threadIdx.x % lanes` (a power of two), by halving; each of them gets it. `parts` holds a value per
// thread in shared memory; the block's threads are a power of two.
static __device__ __forceinline__ float column_sum(float value, float* parts, int lanes) {
  __syncthreads();  // a former sum may still be read
  parts[threadIdx.x] = value;
  for (int offset = blockDim.x / 2; offset >= lanes; offset /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < offset) parts[threadIdx.x] += parts[threadIdx.x + offset];
  }
  __syncthreads();
  return parts[threadIdx.x % lanes];
}
