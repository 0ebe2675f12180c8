// How a block of sm_90a computes a tile of 128 rows and 128 columns of a product: one thread copies parts of both operands, two
// warpgroups multiply those that have arrived. For products as conv_bf16.cuh tells. Two blocks share a multiprocessor: while one stores
// its tile, the other multiplies.
#pragma once
#define CONV_THREADS 256
#define CONV_STAGES 3
#include "conv_bf16.cuh"
#include "tma.cuh"
#include "wgmma.cuh"

// The warps are two warpgroups, each with 64 rows and all columns; one more warp copies.
using T = Tile<128, 128, 16, 128>;

// Depth of a part, and what TMA brings at once of what is contiguous: 128 bytes, within which it swaps chunks.
constexpr int DEPTH = 64;

// Of a and b, both K-major or both MN-major.
struct Operands {
  bf16 a[T::BM * DEPTH], b[T::BN * DEPTH];
  // 64 rows or columns of the product, MN-major.
  static constexpr int BLOCK = DEPTH * DEPTH;
};

struct Pipeline {
  Operands* stages;
  MBarrier *arrived, *used;

  // All threads of the block together.
  __device__ __forceinline__ Pipeline() {
    DYN_SHARED(unsigned char, raw);
    __shared__ MBarrier barriers[2][STAGES];
    // Operands start at multiples of 1024 bytes.
    stages = reinterpret_cast<Operands*>(raw + (-reinterpret_cast<uintptr_t>(raw) & 1023));
    arrived = barriers[0], used = barriers[1];
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < STAGES; stage++) {
        mbarrier_init(&arrived[stage], 1);
        mbarrier_init(&used[stage], WARPS);
      }
      mbarrier_fence_init();
    }
    __syncthreads();
  }

  static __device__ __forceinline__ bool multiplies() { return threadIdx.x < THREADS; }
  static __device__ __forceinline__ bool copies() { return threadIdx.x == THREADS; }

  // The barrier of a step's copies.
  __device__ __forceinline__ MBarrier* full(int step) const { return &arrived[step % STAGES]; }

  // Room for the operands of a step, when it is free; announces them.
  __device__ __forceinline__ Operands& begin_copies(int step) const {
    // The first round finds all stages free: the phase before the first has ended.
    mbarrier_wait(&used[step % STAGES], (step / STAGES & 1) ^ 1);
    mbarrier_arrive_expecting(full(step), sizeof(Operands));
    return stages[step % STAGES];
  }

  // sum = Σ over `steps` parts of the depth of a · b, both K-major or both MN_MAJOR.
  template <bool MN_MAJOR>
  __device__ __forceinline__ void multiply(float (&sum)[T::MI][T::NI][4], int steps) const {
#pragma unroll
    for (int j = 0; j < T::NI; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) sum[0][j][e] = 0.0f;
    wgmma_sums_settled(sum[0]);
    const int first_row = threadIdx.x / 128 * 64;
    for (int step = 0; step < steps; step++) {
      mbarrier_wait(full(step), step / STAGES & 1);
      const Operands& stage = stages[step % STAGES];
      wgmma_fence();
#pragma unroll
      for (int at = 0; at < DEPTH; at += 16) {
        const bf16 *a = stage.a + first_row * DEPTH, *b = stage.b;
        if (MN_MAJOR) {
          constexpr unsigned BLOCK = Operands::BLOCK * sizeof(bf16);
          wgmma_64x128x16<true>(sum[0], mn_major(a + at * DEPTH, BLOCK), mn_major(b + at * DEPTH, BLOCK));
        } else {
          wgmma_64x128x16<false>(sum[0], k_major(a + at), k_major(b + at));
        }
      }
      wgmma_commit();
      // Those of the step before are done: its stage is free.
      wgmma_wait<1>();
      if (step > 0 && threadIdx.x % 32 == 0) mbarrier_arrive(&used[(step - 1) % STAGES]);
    }
    wgmma_wait<0>();
    wgmma_sums_settled(sum[0]);
  }
};
