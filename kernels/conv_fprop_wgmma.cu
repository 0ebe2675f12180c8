// Convolution of stride 1 on the tensor cores of sm_90a, forward: conv_fprop_bf16.cu with products of whole warpgroups, which read both
// operands from shared memory and leave the registers to the sums. For layers of 128 output channels and more.
//
// architectures: 90a
#define CONV_THREADS 256
#define CONV_BK 64
#include "conv_fprop_bf16.cuh"
#include "wgmma.cuh"

// Two warpgroups, each with 64 output pixels and all channels of the tile.
using T = Tile<128, 128, 16, 128>;

__device__ __forceinline__ void fprop(const bf16* __restrict__ x, const bf16* __restrict__ weights, const float* __restrict__ bias,
                                      bf16* __restrict__ y, float* __restrict__ y32, float* __restrict__ parts, int n, int h, int w,
                                      int c, int k, int side, int pad) {
  using A = Windows<T, false>;
  using B = Weights<T>;
  const int oh = h + 2 * pad - side + 1, ow = w + 2 * pad - side + 1;
  const int pixels = n * oh * ow, depth = (side * side * c + CHUNK - 1) / CHUNK * CHUNK;
  // Neighbouring blocks read the same pixels.
  const int tiles = (k + T::BN - 1) / T::BN;
  const int first_pixel = blockIdx.x / tiles * T::BM, first_k = blockIdx.x % tiles * T::BN;

  A a({x, h, w, c, side}, first_pixel, pixels, oh, ow, pad);
  B b(weights, first_k, k, depth);
  // Operands start at multiples of 1024 bytes.
  DYN_SHARED(unsigned char, raw);
  Stage<A, B>* stages = reinterpret_cast<Stage<A, B>*>(raw + (-reinterpret_cast<uintptr_t>(raw) & 1023));
  static_assert(sizeof(typename A::Part) % 1024 == 0 && sizeof(typename B::Part) % 1024 == 0, "every part starts so");
  float sum[T::MI][T::NI][4];
#pragma unroll
  for (int j = 0; j < T::NI; j++)
#pragma unroll
    for (int e = 0; e < 4; e++) sum[0][j][e] = 0.0f;

  const int steps = (depth + BK - 1) / BK;
  // Copies are two parts ahead: when a part is overwritten, every warpgroup has waited for its products with it.
  constexpr int AHEAD = STAGES - 2;
#pragma unroll 1
  for (int step = 0; step < AHEAD; step++) {
    if (step < steps) {
      a.load(stages[step].a);
      b.load(stages[step].b);
    }
    cp_async_commit();
  }
  const int first_row = threadIdx.x / 128 * 64;
  for (int step = 0; step < steps; step++) {
    cp_async_wait<AHEAD - 1>();
    fence_shared_for_wgmma();
    // After it every thread's copies of this step have arrived.
    __syncthreads();
    Stage<A, B>& stage = stages[step % STAGES];
    wgmma_fence();
#pragma unroll
    for (int at = 0; at < BK; at += 16) {
      const unsigned char* rows = reinterpret_cast<const unsigned char*>(stage.a.chunks) + first_row * BK * sizeof(bf16);
      const unsigned char* columns = reinterpret_cast<const unsigned char*>(stage.b.chunks);
      wgmma_64x128x16(sum[0], operand(rows + at * sizeof(bf16)), operand(columns + at * sizeof(bf16)));
    }
    wgmma_commit();
    if (step + AHEAD < steps) {
      a.load(stages[(step + AHEAD) % STAGES].a);
      b.load(stages[(step + AHEAD) % STAGES].b);
    }
    cp_async_commit();
    wgmma_wait<1>();
  }
  wgmma_wait<0>();
  cp_async_wait<0>();
  if (parts) column_moments<T>(stages, sum, parts, first_pixel, first_k, pixels, k);
  if (y32)
    store<T>(stages, sum, bias, y32, first_pixel, first_k, pixels, k);
  else
    store<T>(stages, sum, bias, y, first_pixel, first_k, pixels, k);
}

// y = conv(x, w) + b by tiles of 128 output pixels and 128 output channels; arguments as those of conv_fprop_bf16_128x128.
//
// Launch: ⌈pixels / 128⌉ · ⌈k / 128⌉ blocks in x, 256 threads. Shared memory, dynamic: 4 · 128 · 256 + 1024 bytes. c is a multiple of 8; x
// and w start at 16 bytes. Bound: tensor cores, 2 · pixels · k · side²·c flop.
extern "C" __global__ void __launch_bounds__(256, 1) conv_fprop_wgmma_128x128(
    const bf16* __restrict__ x, const bf16* __restrict__ weights, const float* __restrict__ bias, bf16* __restrict__ y,
    float* __restrict__ y32, float* __restrict__ parts, int n, int h, int w, int c, int k, int side, int pad) {
  ON_SM_90A(fprop(x, weights, bias, y, y32, parts, n, h, w, c, k, side, pad));
}
