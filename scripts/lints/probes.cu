// One kernel for each function of kernels/{ptx,wgmma,tma,portable}.cuh that is written as inline PTX; scripts/lints/probes.py reads their
// machine code. They are never run. Operands are loaded from memory and results stored there, each at its own address, so that the machine
// code shows which register is which operand.
//
// architectures: 90a
#include "tma.cuh"
#include "wgmma.cuh"

#define PROBE(name, ...) extern "C" __global__ void name(__VA_ARGS__)

// Operand i of the function is word i of the array.
PROBE(probe_to_bf16, const float* in, unsigned short* out) { out[0] = to_bf16(in[0]).bits; }
PROBE(probe_pack_bf16, const float* in, unsigned* out) { out[0] = pack_bf16(in[0], in[1]); }

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

PROBE(probe_cp_async16, const char* in, int bytes) {
  DYN_SHARED(char, shared);
  cp_async16_partial(shared + 0x100, in, bytes);
}
PROBE(probe_cp_async16_valid, const char* in, int valid) {
  DYN_SHARED(char, shared);
  cp_async16(shared + 0x100, in, valid);
}
PROBE(probe_cp_async_groups, const char* in) {
  DYN_SHARED(char, shared);
  cp_async16(shared, in);
  cp_async_commit();
  cp_async_wait<5>();
}

#define LDMATRIX(name, n)                                     \
  PROBE(probe_##name, unsigned* out) {                        \
    DYN_SHARED(char, shared);                                 \
    unsigned r[n];                                            \
    name(r, shared + 0x100);                                  \
    for (int i = 0; i < n; i++) out[i] = r[i];                \
  }
LDMATRIX(ldmatrix_x2, 2)
LDMATRIX(ldmatrix_x2_trans, 2)
LDMATRIX(ldmatrix_x4, 4)
LDMATRIX(ldmatrix_x4_trans, 4)

PROBE(probe_mma, const unsigned* a, const unsigned* b, float* d) {
  unsigned rows[4], columns[2];
  float sum[4];
  for (int i = 0; i < 4; i++) rows[i] = a[i], sum[i] = d[i];
  for (int i = 0; i < 2; i++) columns[i] = b[i];
  mma_bf16_16816(sum, rows, columns);
  for (int i = 0; i < 4; i++) d[i] = sum[i];
}
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
template <bool MN_MAJOR> static __device__ __forceinline__ void product(float* d) {
  DYN_SHARED(char, shared);
  float sum[16][4];
  for (int i = 0; i < 64; i++) sum[i / 4][i % 4] = d[i];
  wgmma_sums_settled(sum);
  wgmma_fence();
  const char *a = shared + 0x4000, *b = shared + 0x24000;
  wgmma_64x128x16<MN_MAJOR>(sum, MN_MAJOR ? mn_major(a, 0x2000) : k_major(a), MN_MAJOR ? mn_major(b, 0x2000) : k_major(b));
  wgmma_commit();
  wgmma_wait<5>();
  wgmma_wait<0>();
  wgmma_sums_settled(sum);
  for (int i = 0; i < 64; i++) d[i] = sum[i / 4][i % 4];
}
PROBE(probe_wgmma_k_major, float* d) { product<false>(d); }
PROBE(probe_wgmma_mn_major, float* d) { product<true>(d); }

PROBE(probe_mbarrier, unsigned arrivals, unsigned bytes, unsigned parity) {
  DYN_SHARED(MBarrier, barriers);
  mbarrier_init(&barriers[32], arrivals);
  mbarrier_fence_init();
  mbarrier_arrive(&barriers[33]);
  mbarrier_arrive_expecting(&barriers[34], bytes);
  mbarrier_wait(&barriers[35], parity);
}
PROBE(probe_tma_rows, const __grid_constant__ CUtensorMap map, int x, int y) {
  DYN_SHARED(char, shared);
  tma_load_rows(shared + 0x400, map, reinterpret_cast<MBarrier*>(shared + 0x100), x, y);
}
PROBE(probe_tma_windows, const __grid_constant__ CUtensorMap map, int c, int w, int h, int n, int s, int r) {
  DYN_SHARED(char, shared);
  tma_load_windows(shared + 0x400, map, reinterpret_cast<MBarrier*>(shared + 0x100), c, w, h, n, s, r);
}
PROBE(probe_kernels_before, const float* in, float* out) {
  kernels_before();
  out[0] = in[0];
}
#endif
