// Every instruction that is written as inline PTX, as a small function, each followed by an equivalent in C++ for the CPU stand-in. All but
// the conversions to bf16 need sm_80: kernels that use them put their function into SINCE_SM_80.
#pragma once
#include "portable.cuh"

// Wraps the function of a kernel. On a GPU before sm_80 it is a trap, so that a launch ends in an error.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define SINCE_SM_80(...) trapped
#else
#define SINCE_SM_80(...) __VA_ARGS__
#endif

// ---- float to bf16, rounded to nearest even; every NaN becomes 0x7fff

// The rounding in integers: for the host, and for GPUs before sm_80.
static __device__ __forceinline__ unsigned round_to_bf16_bits(float f) {
  const unsigned u = __float_as_uint(f);
  return (u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
}
static __device__ __forceinline__ bf16 to_bf16(float f) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  bf16 h;
  asm("cvt.rn.bf16.f32 %0, %1;\n" : "=h"(h.bits) : "f"(f));
  return h;
#else
  return {(unsigned short)round_to_bf16_bits(f)};
#endif
}
// Two at once, packed in a word with `lo` in its lower half.
static __device__ __forceinline__ unsigned pack_bf16(float lo, float hi) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  unsigned packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(packed) : "f"(hi), "f"(lo));
  return packed;
#else
  return round_to_bf16_bits(lo) | round_to_bf16_bits(hi) << 16;
#endif
}

#ifdef __CUDACC__

static __device__ __forceinline__ unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

// ---- cp.async: copies from global to shared memory that are complete when their group has been waited for. Of 16 bytes the first `bytes`
// are read and the others become zero; cp_async16 reads all of them or, where not `valid`, none.
static __device__ __forceinline__ void cp_async16_partial(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)), "l"(global), "r"(bytes) : "memory");
}
static __device__ __forceinline__ void cp_async16(void* shared, const void* global, bool valid = true) {
  cp_async16_partial(shared, global, valid ? 16 : 0);
}
static __device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits until at most the KEEP latest groups of this thread are in flight. Other threads see the data after a barrier.
template <int KEEP> static __device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(KEEP) : "memory");
}

// ---- ldmatrix: 2 or 4 matrices of 8 x 8 bf16 from shared memory. Lane 8 j + r gives the address of row r of matrix j, 16-byte
// aligned; lane l receives elements (l / 4, 2 (l % 4)) and the next of each matrix, of its transpose with _trans.
static __device__ __forceinline__ void ldmatrix_x2(unsigned (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n" : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}
static __device__ __forceinline__ void ldmatrix_x2_trans(unsigned (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\n"
               : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}
static __device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
static __device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// ---- mma m16n8k16: d += a b, a 16 x 16 (rows), b 16 x 8 (columns) of bf16, d in float. With g = lane / 4 and t = 2 (lane % 4):
// a[i] holds (g + 8 (i & 1), t + 8 (i >> 1)) and the next column, b[i] holds (t + 8 i, g) and the next row,
// d[i] is (g + 8 (i >> 1), t + (i & 1)).
static __device__ __forceinline__ void mma_bf16_16816(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else  // ---- the same for the host, as macros, so that a fault names the line of the kernel.

#define cp_async16_partial(shared, global, bytes) standin::cp_async(shared, global, bytes, STANDIN_SITE)
#define cp_async16(...) standin::cp_async_whole(STANDIN_SITE, __VA_ARGS__)
#define cp_async_commit() standin::cp_async_commit()
template <int KEEP> inline void cp_async_wait() { standin::cp_async_wait(KEEP); }

namespace standin {

inline void cp_async_whole(const char* site, void* shared, const void* global, bool valid = true) {
  cp_async(shared, global, valid ? 16 : 0, site);
}

struct LdmatrixLane {
  unsigned* out;
  const void* row;
};
template <int MATRICES, bool TRANSPOSED> STANDIN_UNCHECKED void ldmatrix_warp(unsigned mask, void* const* lanes) {
  if (mask != ~0u) fault(LAUNCH_FAILED, "ldmatrix by a part of a warp (mask %08x)", mask);
  unsigned short m[MATRICES][8][8];
  for (int j = 0; j < MATRICES; j++)
    for (int r = 0; r < 8; r++) __builtin_memcpy(m[j][r], static_cast<LdmatrixLane*>(lanes[8 * j + r])->row, 16);
  for (int lane = 0; lane < 32; lane++)
    for (int j = 0; j < MATRICES; j++) {
      const int r = lane / 4, c = 2 * (lane % 4);
      const unsigned lo = TRANSPOSED ? m[j][c][r] : m[j][r][c], hi = TRANSPOSED ? m[j][c + 1][r] : m[j][r][c + 1];
      static_cast<LdmatrixLane*>(lanes[lane])->out[j] = lo | hi << 16;
    }
}
template <int MATRICES, bool TRANSPOSED> STANDIN_UNCHECKED inline void ldmatrix(unsigned (&out)[MATRICES], const void* row, const char* site) {
  require_compute_capability(80, site);
  if (lane_id() < 8 * MATRICES) shared_row_read(row, 16, "ldmatrix", site);
  LdmatrixLane lane{out, row};
  warp_collective(~0u, ldmatrix_warp<MATRICES, TRANSPOSED>, &lane, site);
}

struct MmaLane {
  float* d;
  const unsigned *a, *b;
};
STANDIN_UNCHECKED inline void mma_bf16_16816_warp(unsigned mask, void* const* lanes) {
  if (mask != ~0u) fault(LAUNCH_FAILED, "mma by a part of a warp (mask %08x)", mask);
  float a[16][16], b[16][8], sum[16][8] = {};
  for (int lane = 0; lane < 32; lane++) {
    const auto& x = *static_cast<MmaLane*>(lanes[lane]);
    const int g = lane / 4, t = 2 * (lane % 4);
    for (int i = 0; i < 4; i++) {
      const int row = g + 8 * (i & 1), col = t + 8 * (i >> 1);
      const unsigned lo = x.a[i] << 16, hi = x.a[i] & 0xffff0000u;
      __builtin_memcpy(&a[row][col], &lo, 4);
      __builtin_memcpy(&a[row][col + 1], &hi, 4);
    }
    for (int i = 0; i < 2; i++) {
      const unsigned lo = x.b[i] << 16, hi = x.b[i] & 0xffff0000u;
      __builtin_memcpy(&b[t + 8 * i][g], &lo, 4);
      __builtin_memcpy(&b[t + 8 * i + 1][g], &hi, 4);
    }
  }
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < 16; k++)
      for (int j = 0; j < 8; j++) sum[i][j] = __builtin_fmaf(a[i][k], b[k][j], sum[i][j]);
  for (int lane = 0; lane < 32; lane++) {
    auto& x = *static_cast<MmaLane*>(lanes[lane]);
    const int g = lane / 4, t = 2 * (lane % 4);
    for (int i = 0; i < 4; i++) x.d[i] += sum[g + 8 * (i >> 1)][t + (i & 1)];
  }
}
STANDIN_UNCHECKED inline void mma_bf16_16816(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const char* site) {
  require_compute_capability(80, site);
  MmaLane lane{d, a, b};
  warp_collective(~0u, mma_bf16_16816_warp, &lane, site);
}

}  // namespace standin

#define ldmatrix_x2(r, row) standin::ldmatrix<2, false>(r, row, STANDIN_SITE)
#define ldmatrix_x2_trans(r, row) standin::ldmatrix<2, true>(r, row, STANDIN_SITE)
#define ldmatrix_x4(r, row) standin::ldmatrix<4, false>(r, row, STANDIN_SITE)
#define ldmatrix_x4_trans(r, row) standin::ldmatrix<4, true>(r, row, STANDIN_SITE)
#define mma_bf16_16816(d, a, b) standin::mma_bf16_16816(d, a, b, STANDIN_SITE)
#endif
