// The main loop of convolutions on sm_90a, warp-specialised: one thread starts the TMA copies of both operands, two warpgroups multiply those
// that have arrived. A block computes a tile of 128 rows and 128 columns of the products that conv_bf16.cuh describes. Two blocks share a
// multiprocessor: while one stores its tile, the other multiplies.
#pragma once
#define CONV_THREADS 256
#define CONV_STAGES 3
#include "conv_bf16.cuh"
#include "tma.cuh"
#include "wgmma.cuh"

// Eight warps are two warpgroups, each with 64 rows and all columns of the tile; a ninth warp copies.
using T = Tile<128, 128, 16, 128>;

// Depth of one step. 64 elements are the 128 contiguous bytes within which TMA swizzles.
constexpr int DEPTH = 64;

// One stage: operands a and b of one step, both K-major or both MN-major.
struct Operands {
  bf16 a[T::BM * DEPTH], b[T::BN * DEPTH];
  // Elements of 64 rows or columns of an MN-major operand.
  static constexpr int BLOCK = DEPTH * DEPTH;
};

struct Pipeline {
  Operands* stages;
  MBarrier *arrived, *used;

  // Called by all threads of the block.
  __device__ __forceinline__ Pipeline() {
    DYN_SHARED(unsigned char, raw);
    __shared__ MBarrier barriers[2][STAGES];
    // Operands are aligned to 1024 bytes, after which the swizzling pattern repeats.
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

  // The barrier at which a step's copies arrive.
  __device__ __forceinline__ MBarrier* full(int step) const { return &arrived[step % STAGES]; }

  // Waits until the stage of a step is free, announces the bytes of its copies to the barrier, and returns the stage.
  __device__ __forceinline__ Operands& begin_copies(int step) const {
    // In the first round all stages are free: the wait returns at once, since the phase before the first counts as ended.
    mbarrier_wait(&used[step % STAGES], (step / STAGES & 1) ^ 1);
    mbarrier_arrive_expecting(full(step), sizeof(Operands));
    return stages[step % STAGES];
  }

  // sum = a · b over the depth, in `steps` steps; both operands K-major, or both MN-major.
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
      // The products of the previous step are complete, so its stage is free.
      wgmma_wait<1>();
      if (step > 0 && threadIdx.x % 32 == 0) mbarrier_arrive(&used[(step - 1) % STAGES]);
    }
    wgmma_wait<0>();
    wgmma_sums_settled(sum[0]);
  }
};
