// The functions that tma.cuh and wgmma.cuh write as PTX, each in a kernel of one block that passes its inputs and outputs, for
// tests/cuda/primitives.rs.
//
// architectures: 90a
#include "tma.cuh"
#include "wgmma.cuh"

// Makes the thread's stores to shared memory visible to WGMMA and TMA, which access it through another proxy. The library's kernels need
// no such fence, since only TMA writes their operands; neither does the host.
__device__ __forceinline__ void fence_proxy_async() {
#ifdef __CUDACC__
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
#endif
}

// Dynamic shared memory, aligned to 1024 bytes.
__device__ __forceinline__ unsigned char* arena() {
  DYN_SHARED(unsigned char, raw);
  return raw + (-reinterpret_cast<uintptr_t>(raw) & 1023);
}

// One barrier for the block.
__device__ __forceinline__ void make_barrier(MBarrier& barrier, unsigned arrivals) {
  if (threadIdx.x == 0) {
    mbarrier_init(&barrier, arrivals);
    mbarrier_fence_init();
  }
  __syncthreads();
}

// Computes for a time proportional to `steps`.
__device__ __forceinline__ unsigned late(unsigned number, int steps) {
  for (int step = 0; step < steps; step++) number = number * 1664525u + 1013904223u;
  return number;
}

// ---- mbarrier

__device__ __forceinline__ void hand_around(unsigned* y, int phases) {
  __shared__ MBarrier stored, taken;
  DYN_SHARED(unsigned, slots);
  make_barrier(stored, 96);
  make_barrier(taken, 96);
  const int t = threadIdx.x;
  for (int phase = 0; phase < phases; phase++) {
    // In the first round the slots are free: the phase before the first counts as ended.
    mbarrier_wait(&taken, (phase & 1) ^ 1);
    // A different warp arrives last each time.
    slots[t] = late(t + 1000 * phase, (t / 32 + phase) % 3 * 500);
    // As in the convolutions: for the checked stand-in an arrival releases what the warp did before its last __syncwarp.
    __syncwarp();
    mbarrier_arrive(&stored);
    mbarrier_wait(&stored, phase & 1);
    y[phase * 96 + t] = slots[(t + 32 + phase) % 96];
    __syncwarp();
    mbarrier_arrive(&taken);
  }
}
struct MbarrierPhasesParameters {
  unsigned* y;
  int phases;
};
// y [phases, 96] = in each phase, the value that the thread 32 + phase places further on has stored.
__device__ __forceinline__ void mbarrier_phases(const MbarrierPhasesParameters& given) {
  kernels_before();
  hand_around(given.y, given.phases);
}
KERNEL(primitive_mbarrier_phases, MbarrierPhasesParameters, (96), ON_SM_90A(mbarrier_phases))

__device__ __forceinline__ void arrive_with_bytes(const CUtensorMap& map, unsigned* y, int phases) {
  __shared__ __align__(1024) unsigned short tile[64 * 64];
  __shared__ MBarrier barrier;
  __shared__ unsigned slot;
  make_barrier(barrier, 2);
  const int t = threadIdx.x;
  for (int phase = 0; phase < phases; phase++) {
    if (t == 0) {
      mbarrier_arrive_expecting(&barrier, sizeof tile);
      tma_load_rows(tile, map, &barrier, 0, phase);
    }
    if (t == 32) slot = late(phase, 2000);
    __syncwarp();
    if (t == 32) mbarrier_arrive(&barrier);
    mbarrier_wait(&barrier, phase & 1);
    // Swizzling leaves the first chunks of rows 0 and 56 in place.
    y[phase * 64 + t] = t < 8 ? tile[t] : t < 16 ? tile[56 * 64 + t - 8] : slot;
    __syncthreads();
  }
}
struct MbarrierExpectTxParameters {
  CUtensorMap map;
  unsigned* y;
  int phases;
};
// y [phases, 64] = the results of a TMA copy from row `phase` on, 8 elements of its row 0 and 8 of its row 56; and the values stored by a
// thread that arrives late.
__device__ __forceinline__ void mbarrier_expect_tx(const MbarrierExpectTxParameters& given) {
  kernels_before();
  arrive_with_bytes(given.map, given.y, given.phases);
}
KERNEL(primitive_mbarrier_expect_tx, const __grid_constant__ MbarrierExpectTxParameters, (64), ON_SM_90A(mbarrier_expect_tx))

// ---- TMA

// Fills `bytes` of shared memory twice with the copies that load() starts, and stores them to y. The second round shows that the copies of the
// first had exactly the announced number of bytes, and none arrived after its phase.
template <class Load> __device__ __forceinline__ void copy_boxes(unsigned* y, int bytes, Load load) {
  __shared__ MBarrier barrier;
  unsigned char* shared = arena();
  unsigned* words = reinterpret_cast<unsigned*>(shared);
  for (int round = 0; round < 2; round++) {
    for (int i = threadIdx.x; i < bytes / 4; i += blockDim.x) words[i] = 0xeeeeeeeeu;
    fence_proxy_async();
    if (round == 0)
      make_barrier(barrier, 1);
    else
      __syncthreads();
    if (threadIdx.x == 0) {
      mbarrier_arrive_expecting(&barrier, bytes);
      load(shared, &barrier);
    }
    mbarrier_wait(&barrier, round & 1);
    for (int i = threadIdx.x; i < bytes / 4; i += blockDim.x) y[i] = words[i];
    __syncthreads();
  }
}

__device__ __forceinline__ void copy_rows(const CUtensorMap& map, const int* at, unsigned* y, int boxes, int box_bytes) {
  copy_boxes(y, boxes * box_bytes, [&](unsigned char* shared, MBarrier* barrier) {
    for (int box = 0; box < boxes; box++) tma_load_rows(shared + box * box_bytes, map, barrier, at[2 * box], at[2 * box + 1]);
  });
}
struct TmaParameters {
  CUtensorMap map;
  const int* at;
  unsigned* y;
  int boxes, box_bytes;
};
// y = shared memory after boxes of a matrix have been copied from (x, y) = at [boxes, 2] on.
__device__ __forceinline__ void tma_rows(const TmaParameters& given) {
  kernels_before();
  copy_rows(given.map, given.at, given.y, given.boxes, given.box_bytes);
}
KERNEL(primitive_tma_rows, const __grid_constant__ TmaParameters, (64), ON_SM_90A(tma_rows))

__device__ __forceinline__ void copy_windows(const CUtensorMap& map, const int* at, unsigned* y, int boxes, int box_bytes) {
  copy_boxes(y, boxes * box_bytes, [&](unsigned char* shared, MBarrier* barrier) {
    for (int box = 0; box < boxes; box++) {
      const int* a = at + 6 * box;
      tma_load_windows(shared + box * box_bytes, map, barrier, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
  });
}
// y = shared memory after boxes of windows have been copied from (c, w, h, n, s, r) = at [boxes, 6] on.
__device__ __forceinline__ void tma_windows(const TmaParameters& given) {
  kernels_before();
  copy_windows(given.map, given.at, given.y, given.boxes, given.box_bytes);
}
KERNEL(primitive_tma_windows, const __grid_constant__ TmaParameters, (64), ON_SM_90A(tma_windows))

// ---- wgmma, by two warpgroups, as in conv_wgmma.cuh: a stage holds a of 128 rows, b of 128 columns, both of 64 depths.

struct Stage {
  static constexpr int OPERAND = 128 * 128, HALF = OPERAND / 2, BYTES = 2 * OPERAND;
};

__device__ __forceinline__ void copy_stage(unsigned char* to, const unsigned* from) {
  for (int i = threadIdx.x; i < Stage::BYTES / 16; i += 256) reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
}

// This warpgroup's product over 16 depths, from depth `at` of a stage on.
template <bool MN_MAJOR> __device__ __forceinline__ void multiply(float (&d)[16][4], const unsigned char* stage, int at) {
  const unsigned char *a = stage + threadIdx.x / 128 * Stage::HALF, *b = stage + Stage::OPERAND;
  if (MN_MAJOR)
    wgmma_64x128x16<true>(d, mn_major(a + 128 * at, Stage::HALF), mn_major(b + 128 * at, Stage::HALF));
  else
    wgmma_64x128x16<false>(d, k_major(a + 2 * at), k_major(b + 2 * at));
}

__device__ __forceinline__ void read_sums(float (&d)[16][4], const float* sums) {
#pragma unroll
  for (int i = 0; i < 64; i++) d[i / 4][i % 4] = sums[threadIdx.x * 64 + i];
  wgmma_sums_settled(d);
}
__device__ __forceinline__ void write_sums(float (&d)[16][4], float* sums) {
  wgmma_sums_settled(d);
#pragma unroll
  for (int i = 0; i < 64; i++) sums[threadIdx.x * 64 + i] = d[i / 4][i % 4];
}

template <bool MN_MAJOR> __device__ __forceinline__ void multiply_one(const unsigned* x, float* sums, int stage, int at) {
  unsigned char* stages = arena();
  for (int i = 0; i < 3; i++) copy_stage(stages + i * Stage::BYTES, x + i * (Stage::BYTES / 4));
  fence_proxy_async();
  __syncthreads();
  float d[16][4];
  read_sums(d, sums);
  wgmma_fence();
  multiply<MN_MAJOR>(d, stages + stage * Stage::BYTES, at);
  wgmma_commit();
  wgmma_wait<0>();
  write_sums(d, sums);
}
struct WgmmaParameters {
  const unsigned* x;
  float* sums;
  int stage, at;
};
// sums [256, 64] += one product over 16 depths, from depth `at` of one of three stages in x on.
__device__ __forceinline__ void wgmma_k_major(const WgmmaParameters& given) {
  kernels_before();
  multiply_one<false>(given.x, given.sums, given.stage, given.at);
}
KERNEL(primitive_wgmma_k_major, WgmmaParameters, (256), ON_SM_90A(wgmma_k_major))
__device__ __forceinline__ void wgmma_mn_major(const WgmmaParameters& given) {
  kernels_before();
  multiply_one<true>(given.x, given.sums, given.stage, given.at);
}
KERNEL(primitive_wgmma_mn_major, WgmmaParameters, (256), ON_SM_90A(wgmma_mn_major))

template <bool MN_MAJOR> __device__ __forceinline__ void multiply_groups(const unsigned* x, float* sums, int steps) {
  unsigned char* stages = arena();
  float d[16][4];
  copy_stage(stages, x);
  read_sums(d, sums);
  for (int step = 0; step < steps; step++) {
    fence_proxy_async();
    __syncthreads();
    wgmma_fence();
#pragma unroll
    for (int at = 0; at < 64; at += 16) multiply<MN_MAJOR>(d, stages + step % 2 * Stage::BYTES, at);
    wgmma_commit();
    wgmma_wait<1>();
    // All threads have completed the previous step: its stage is filled again while this step's products are in flight.
    __syncthreads();
    if (step + 1 < steps) copy_stage(stages + (step + 1) % 2 * Stage::BYTES, x + (step + 1) * (Stage::BYTES / 4));
  }
  wgmma_wait<0>();
  write_sums(d, sums);
}
struct WgmmaGroupsParameters {
  const unsigned* x;
  float* sums;
  int steps;
};
// sums [256, 64] += the products over all depths of `steps` stages, one group per stage, at most two groups in flight.
__device__ __forceinline__ void wgmma_groups_k_major(const WgmmaGroupsParameters& given) {
  kernels_before();
  multiply_groups<false>(given.x, given.sums, given.steps);
}
KERNEL(primitive_wgmma_groups_k_major, WgmmaGroupsParameters, (256), ON_SM_90A(wgmma_groups_k_major))
__device__ __forceinline__ void wgmma_groups_mn_major(const WgmmaGroupsParameters& given) {
  kernels_before();
  multiply_groups<true>(given.x, given.sums, given.steps);
}
KERNEL(primitive_wgmma_groups_mn_major, WgmmaGroupsParameters, (256), ON_SM_90A(wgmma_groups_mn_major))
