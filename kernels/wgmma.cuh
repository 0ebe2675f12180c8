// WGMMA, the matrix product of sm_90a's warpgroups, followed by an equivalent for the host, as in ptx.cuh. A warpgroup (four consecutive
// warps, the first with an index that is a multiple of four) multiplies operands in shared memory; the products are complete when their
// group has been waited for.
#pragma once
#include "ptx.cuh"

// Wraps the function of a kernel. On anything but sm_90a it is a trap, so that a launch ends in an error.
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ON_SM_90A(...) trapped
#else
#define ON_SM_90A(...) __VA_ARGS__
#endif

// An operand is given by the address of its first depth. In shared memory it is aligned to 1024 bytes and consists of rows of 128 bytes
// with 128-byte swizzling: the index of each 16-byte chunk is XORed with the row modulo 8.
//   K-major    a row of 64 depths for each row or column of the product
//   MN-major   a row of 64 rows or columns of the product for each depth; where the product has more, the next 64 are `block` bytes
//              further on
#ifdef __CUDACC__

typedef unsigned long long Operand;
// The matrix descriptor: address, and the steps from one block to the next and from eight rows to the next eight, in units of 16 bytes;
// swizzling mode 1 (128 bytes).
static __device__ __forceinline__ Operand described(const void* shared, unsigned block) {
  return (shared_address(shared) >> 4 & 0x3fff) | (Operand)(block >> 4) << 16 | 64ull << 32 | 1ull << 62;
}
static __device__ __forceinline__ Operand k_major(const void* shared) { return described(shared, 16); }
static __device__ __forceinline__ Operand mn_major(const void* shared, unsigned block) { return described(shared, block); }

// Orders earlier accesses of the accumulators' registers before the first product that adds to them.
static __device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
static __device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
// Waits until at most the KEEP latest groups are in flight.
template <int KEEP> static __device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(KEEP) : "memory");
}

// Keeps the compiler from moving accesses of the accumulators across it: called before the first product, and after the wait for the last
// group. Without it ptxas serialises the products.
static __device__ __forceinline__ void wgmma_sums_settled(float (&d)[16][4]) {
#pragma unroll
  for (int j = 0; j < 16; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) asm volatile("" : "+f"(d[j][i])::"memory");
}

// d += a b over 16 depths, a of 64 rows, b of 128 columns, both K-major or both MN-major. Warp w of the four holds rows
// 16 w + lane / 4 and, for i >= 2, eight further on: d[j][i] is column 8 j + 2 (lane % 4) + (i & 1).
template <bool MN_MAJOR> static __device__ __forceinline__ void wgmma_64x128x16(float (&d)[16][4], Operand a, Operand b) {
#define ROW(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,"
      "%62,%63}, %64, %65, 1, 1, 1, %66, %66;\n"
      : ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14),
        ROW(15)
      : "l"(a), "l"(b), "n"((int)MN_MAJOR));
#endif
#undef ROW
}

#else

using standin::Operand;
#define k_major(shared) (Operand{shared, 0})
#define mn_major(shared, block) (Operand{shared, block})
#define wgmma_fence() standin::wgmma_fence()
#define wgmma_commit() standin::wgmma_commit()
template <int KEEP> inline void wgmma_wait() { standin::wgmma_wait(KEEP, "wgmma_wait"); }
#define wgmma_sums_settled(d) ((void)0)
template <bool MN_MAJOR> inline void wgmma_64x128x16(float (&d)[16][4], Operand a, Operand b) {
  standin::wgmma(&d[0][0], 128, MN_MAJOR, a, b, STANDIN_SITE);
}

#endif
