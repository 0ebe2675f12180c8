// Integer sums over the threads of a block.
#pragma once
#include "portable.cuh"

// Adds every thread's `value` to `*total` in shared memory: integers, so exact in any order. All threads of the block call it,
// in whole warps; `*total` is complete after the next barrier.
__device__ __forceinline__ void block_add(long long value, unsigned long long* total) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
  if (threadIdx.x % 32 == 0) atomicAdd(total, static_cast<unsigned long long>(value));
}
