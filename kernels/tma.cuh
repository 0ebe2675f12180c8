// TMA, the bulk copies of sm_90 from global to shared memory, and the barriers in shared memory (mbarriers) at which they arrive; each
// function is followed by an equivalent for the host, as in ptx.cuh.
//
// A phase of a barrier ends when as many threads as it was initialised for have arrived, and all bytes that they announced; then the next
// phase begins. Waiting for parity p returns once the current phase has the other parity: waiting for parity 1 of a new barrier returns at
// once. A copy is started by one thread.
#pragma once
#include "ptx.cuh"

// Describes a tensor in memory, and the box that one copy transfers; made by the driver (src/device/cuda/tensor_map.rs).
struct __align__(128) CUtensorMap {
  unsigned long long opaque[16];
};

typedef unsigned long long MBarrier;

#ifdef __CUDACC__

static __device__ __forceinline__ void mbarrier_init(MBarrier* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// Makes the barriers that this thread initialised visible to copies; other threads of the block need __syncthreads as well.
static __device__ __forceinline__ void mbarrier_fence_init() { asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory"); }
static __device__ __forceinline__ void mbarrier_arrive(MBarrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives, and announces the bytes of copies to come.
static __device__ __forceinline__ void mbarrier_arrive_expecting(MBarrier* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
static __device__ __forceinline__ void mbarrier_wait(MBarrier* barrier, unsigned parity) {
  unsigned done;
  do {
    asm volatile(
        "{\n.reg .pred ended;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ended;\n}\n"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  } while (!done);
}

// Rows y, y + 1 … of a matrix from column x on, as many as the map's box has; zeros outside.
static __device__ __forceinline__ void tma_load_rows(void* shared, const CUtensorMap& map, MBarrier* barrier, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];\n" ::"r"(
          shared_address(shared)),
      "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y)
      : "memory");
}
// Im2col: channels from c on of the tap (s, r) of successive windows, the first at column w and row h of image n; zeros outside.
static __device__ __forceinline__ void tma_load_windows(void* shared, const CUtensorMap& map, MBarrier* barrier, int c, int w, int h, int n,
                                                        int s, int r) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, "
      "%8};\n" ::"r"(shared_address(shared)),
      "l"(&map), "r"(shared_address(barrier)), "r"(c), "r"(w), "r"(h), "r"(n), "h"((unsigned short)s), "h"((unsigned short)r)
      : "memory");
}

#else

#define mbarrier_init(barrier, arrivals) standin::mbarrier_init(barrier, arrivals, STANDIN_SITE)
#define mbarrier_fence_init() standin::mbarrier_fence_init()
#define mbarrier_arrive(barrier) mbarrier_arrive_expecting(barrier, 0)
#define mbarrier_arrive_expecting(barrier, bytes) standin::mbarrier_arrive_expecting(barrier, bytes, STANDIN_SITE)
#define mbarrier_wait(barrier, parity) standin::mbarrier_wait(barrier, parity, STANDIN_SITE)
#define tma_load_rows(shared, map, barrier, x, y) standin::tma_load(shared, &(map), barrier, {x, y}, {}, STANDIN_SITE)
#define tma_load_windows(shared, map, barrier, c, w, h, n, s, r) \
  standin::tma_load(shared, &(map), barrier, {c, w, h, n}, {(unsigned short)(s), (unsigned short)(r)}, STANDIN_SITE)

#endif
