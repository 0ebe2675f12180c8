// TMA, mbarriers and WGMMA, correct and with planted faults.
#include "portable.cuh"
#include "tma.cuh"
#include "wgmma.cuh"

// What a row of 64 elements looks like in shared memory.
static __device__ __forceinline__ const bf16& element(const bf16* tile, int row, int column) {
  return tile[64 * row + (column / 8 ^ (row & 7)) * 8 + column % 8];
}

// A matrix of 8 rows from (x, y) on: out [8, 64].
extern "C" __global__ void __launch_bounds__(32) bulk_rows(const __grid_constant__ CUtensorMap map, float* out, int x, int y) {
  __shared__ __align__(1024) bf16 tile[8 * 64];
  __shared__ MBarrier barrier;
  if (threadIdx.x == 0) {
    mbarrier_init(&barrier, 1);
    mbarrier_fence_init();
    mbarrier_arrive_expecting(&barrier, sizeof tile);
    tma_load_rows(tile, map, &barrier, x, y);
  }
  __syncthreads();
  mbarrier_wait(&barrier, 0);
  for (int i = threadIdx.x; i < 8 * 64; i += 32) out[i] = to_float(element(tile, i / 64, i % 64));
}

// One tap of 16 successive windows: out [16, 64].
extern "C" __global__ void __launch_bounds__(32) bulk_windows(const __grid_constant__ CUtensorMap map, float* out, int c, int w, int h, int n,
                                                              int s, int r) {
  __shared__ __align__(1024) bf16 tile[16 * 64];
  __shared__ MBarrier barrier;
  if (threadIdx.x == 0) {
    mbarrier_init(&barrier, 1);
    mbarrier_fence_init();
    mbarrier_arrive_expecting(&barrier, sizeof tile);
    tma_load_windows(tile, map, &barrier, c, w, h, n, s, r);
  }
  __syncthreads();
  mbarrier_wait(&barrier, 0);
  for (int i = threadIdx.x; i < 16 * 64; i += 32) out[i] = to_float(element(tile, i / 64, i % 64));
}

static __device__ __forceinline__ void put_product(float* out, const float (&sum)[16][4]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int j = 0; j < 16; j++)
    for (int i = 0; i < 4; i++) out[(16 * warp + lane / 4 + i / 2 * 8) * 128 + 8 * j + lane % 4 * 2 + i % 2] = sum[j][i];
}

// out [64, 128] = a bᵀ of the first 64 columns: a the first 64 rows of a matrix, b 128 rows from 64 on.
extern "C" __global__ void __launch_bounds__(128) bulk_product(const __grid_constant__ CUtensorMap map, float* out) {
  __shared__ __align__(1024) bf16 a[64 * 64], b[128 * 64];
  __shared__ MBarrier barrier;
  if (threadIdx.x == 0) {
    mbarrier_init(&barrier, 1);
    mbarrier_fence_init();
    mbarrier_arrive_expecting(&barrier, sizeof a + sizeof b);
    for (int row = 0; row < 64; row += 8) tma_load_rows(a + 64 * row, map, &barrier, 0, row);
    for (int row = 0; row < 128; row += 8) tma_load_rows(b + 64 * row, map, &barrier, 0, 64 + row);
  }
  __syncthreads();
  mbarrier_wait(&barrier, 0);
  float sum[16][4] = {};
  wgmma_fence();
  for (int at = 0; at < 64; at += 16) wgmma_64x128x16<false>(sum, k_major(a + at), k_major(b + at));
  wgmma_commit();
  wgmma_wait<0>();
  put_product(out, sum);
}

// out [64, 128] = aᵀ b of the first 64 rows: a the first 64 columns of a matrix, b 128 columns from 64 on.
extern "C" __global__ void __launch_bounds__(128) bulk_product_mn_major(const __grid_constant__ CUtensorMap map, float* out) {
  __shared__ __align__(1024) bf16 a[64 * 64], b[2 * 64 * 64];
  __shared__ MBarrier barrier;
  if (threadIdx.x == 0) {
    mbarrier_init(&barrier, 1);
    mbarrier_fence_init();
    mbarrier_arrive_expecting(&barrier, sizeof a + sizeof b);
    for (int row = 0; row < 64; row += 8) {
      tma_load_rows(a + 64 * row, map, &barrier, 0, row);
      for (int half = 0; half < 2; half++) tma_load_rows(b + 64 * (64 * half + row), map, &barrier, 64 + 64 * half, row);
    }
  }
  __syncthreads();
  mbarrier_wait(&barrier, 0);
  float sum[16][4] = {};
  wgmma_fence();
  for (int at = 0; at < 64; at += 16)
    wgmma_64x128x16<true>(sum, mn_major(a + 64 * at, sizeof a), mn_major(b + 64 * at, sizeof a));
  wgmma_commit();
  wgmma_wait<0>();
  put_product(out, sum);
}

enum Mistake {
  NONE, INIT_UNFENCED, INIT_UNSEEN, NOT_WAITED, OTHER_PARITY, TOO_FEW_BYTES, TOO_MANY_ARRIVALS, NO_ARRIVAL, OVERWRITTEN_EARLY, MISALIGNED,
  FORGOTTEN,
};

// A ring of two tiles: one thread copies four rows of tiles, a warp adds them up. out [64].
extern "C" __global__ void __launch_bounds__(64) bulk_ring(const __grid_constant__ CUtensorMap map, float* out, int mistake) {
  DYN_SHARED(bf16, raw);
  bf16* tiles = raw + (-reinterpret_cast<uintptr_t>(raw) & 1023) / 2;
  __shared__ MBarrier full[3], empty[3];
  constexpr int TILE = 8 * 64;
  const int copier = 32, t = threadIdx.x;
  if (t == 0) {
    for (int i = 0; i < 3; i++) {
      mbarrier_init(&full[i], 1);
      mbarrier_init(&empty[i], mistake == NO_ARRIVAL ? 2 : 1);
    }
    if (mistake != INIT_UNFENCED) mbarrier_fence_init();
  }
  if (mistake != INIT_UNSEEN) __syncthreads();
  if (t == copier) {
    for (int step = 0; step < 4; step++) {
      if (mistake != OVERWRITTEN_EARLY || step < 2) mbarrier_wait(&empty[step % 2], (step / 2 & 1) ^ 1);
      mbarrier_arrive_expecting(&full[step % 2], TILE * 2 + (mistake == TOO_FEW_BYTES ? 16 : 0));
      if (mistake == TOO_MANY_ARRIVALS) mbarrier_arrive(&full[step % 2]);
      tma_load_rows(tiles + step % 2 * TILE + (mistake == MISALIGNED ? 64 : 0), map, &full[step % 2], 0, 8 * step);
    }
    if (mistake == FORGOTTEN) tma_load_rows(tiles + 2 * TILE, map, &full[2], 0, 0);
  }
  if (t >= 32) return;
  float sum[2] = {};
  for (int step = 0; step < 4; step++) {
    if (mistake != NOT_WAITED) mbarrier_wait(&full[step % 2], (step / 2 & 1) ^ (mistake == OTHER_PARITY));
    for (int row = 0; row < 8; row++)
      for (int i = 0; i < 2; i++) sum[i] += to_float(element(tiles + step % 2 * TILE, row, t + 32 * i));
    __syncwarp();
    if (t == 0) mbarrier_arrive(&empty[step % 2]);
  }
  for (int i = 0; i < 2; i++) out[t + 32 * i] = sum[i];
}
