// A bf16 matrix product as the tensor cores do it: asynchronous copies into two buffers, ldmatrix, mma. C = A B, rows first,
// C in float. Block tile 64 x 64 x 32; four warps, 32 x 32 each. Sizes of A's and B's rows are multiples of 8.
#include "ptx.cuh"
constexpr int BM = 64, BN = 64, BK = 32, PA = BK + 8, PB = BN + 8;
extern "C" __global__ void __launch_bounds__(128)
basic_gemm(const bf16* __restrict__ A, const bf16* __restrict__ B, float* __restrict__ C, int M, int N, int K) {
  DYN_SHARED(bf16, sm);
  bf16* sA = sm;                 // [2][BM][PA]
  bf16* sB = sm + 2 * BM * PA;   // [2][BK][PB]
  const int t = threadIdx.x, lane = t & 31, warp = t >> 5, wm = (warp >> 1) * 32, wn = (warp & 1) * 32;
  const int m0 = blockIdx.y * BM, n0 = blockIdx.x * BN;
  auto load = [&](int buf, int k0) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int c = t + i * 128, r = c >> 2, kc = (c & 3) * 8;
      bool ok = m0 + r < M && k0 + kc < K;
      cp_async16(sA + (buf * BM + r) * PA + kc, ok ? A + (size_t)(m0 + r) * K + k0 + kc : A, ok);
      int rb = c >> 3, nc = (c & 7) * 8;
      bool okb = k0 + rb < K && n0 + nc < N;
      cp_async16(sB + (buf * BK + rb) * PB + nc, okb ? B + (size_t)(k0 + rb) * N + n0 + nc : B, okb);
    }
    cp_async_commit();
  };
  float acc[2][4][4] = {};
  const int nk = (K + BK - 1) / BK;
  load(0, 0);
  for (int ik = 0; ik < nk; ik++) {
    const int buf = ik & 1;
    if (ik + 1 < nk) { load(buf ^ 1, (ik + 1) * BK); cp_async_wait<1>(); }
    else cp_async_wait<0>();
    __syncthreads();
#pragma unroll
    for (int kk = 0; kk < BK; kk += 16) {
      unsigned a[2][4], b[4][2];
#pragma unroll
      for (int i = 0; i < 2; i++) ldmatrix_x4(a[i], sA + (buf * BM + wm + i * 16 + (lane & 15)) * PA + kk + (lane >> 4) * 8);
#pragma unroll
      for (int j = 0; j < 4; j++) ldmatrix_x2_trans(b[j], sB + (buf * BK + kk + (lane & 15)) * PB + wn + j * 8);
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) mma_bf16_16816(acc[i][j], a[i], b[j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        int r = m0 + wm + i * 16 + (lane >> 2) + h * 8, c = n0 + wn + j * 8 + (lane & 3) * 2;
        if (r < M && c < N) *reinterpret_cast<float2*>(C + (size_t)r * N + c) = make_float2(acc[i][j][2 * h], acc[i][j][2 * h + 1]);
      }
}
