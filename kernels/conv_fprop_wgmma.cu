// Convolution of stride 1 on the tensor cores of sm_90a, forward: conv_fprop_bf16.cu with WGMMA, which reads both operands from shared
// memory and leaves the registers to the accumulators, and with TMA, which copies the operands. For many channels.
//
// architectures: 90a
#include "conv_wgmma.cuh"

__device__ __forceinline__ void fprop(const CUtensorMap& x, const CUtensorMap& weights, const Epilogue& epilogue,
                                      bf16* __restrict__ y, float* __restrict__ y32, float* __restrict__ parts, int n, int h, int w,
                                      int c, int k, int side, int pad) {
  const int oh = h + 2 * pad - side + 1, ow = w + 2 * pad - side + 1, pixels = n * oh * ow;
  // Neighbouring blocks read the same pixels, which then come from L2.
  const int tiles = (k + T::BN - 1) / T::BN;
  const int first_pixel = blockIdx.x / tiles * T::BM, first_k = blockIdx.x % tiles * T::BN;
  const int chunks = c / DEPTH, steps = side * side * chunks;

  Pipeline pipeline;
  kernels_before();
  if (pipeline.copies()) {
    // The window of the tile's first pixel.
    const int j = first_pixel % ow - pad, i = first_pixel / ow % oh - pad, image = first_pixel / ow / oh;
    int chunk = 0, s = 0, r = 0;
    for (int step = 0; step < steps; step++) {
      Operands& stage = pipeline.begin_copies(step);
      tma_load_windows(stage.a, x, pipeline.full(step), chunk * DEPTH, j, i, image, s, r);
      tma_load_rows(stage.b, weights, pipeline.full(step), step * DEPTH, first_k);
      if (++chunk == chunks) {
        chunk = 0;
        if (++s == side) s = 0, r++;
      }
    }
  }
  // The warp that copies has nothing more to do.
  if (!pipeline.multiplies()) return;

  float sum[T::MI][T::NI][4];
  pipeline.multiply<false>(sum, steps);
  if (parts) column_moments<T>(pipeline.stages, sum, parts, first_pixel, first_k, pixels, k);
  if (y32)
    store<T>(pipeline.stages, sum, epilogue, y32, first_pixel, first_k, pixels, k);
  else
    store<T>(pipeline.stages, sum, epilogue, y, first_pixel, first_k, pixels, k);
}

// y = act(norm(conv(x, w) + b)), one tile of 128 output pixels and 128 output channels per block. The arguments are those of
// conv_fprop_bf16_128x128, except that x and w are tensor maps: x is an im2col map of [n, h, w, c] with boxes of 64 channels of 128 pixels,
// w a map of the rows [k, side²·c] with boxes of 64 elements of 128 rows.
//
// Launch: ⌈pixels / 128⌉ · ⌈k / 128⌉ blocks in x, 288 threads; c is a multiple of 64. Shared memory: 3 · 128 · 256 + 1024 bytes, dynamic,
// and 128, static. Bound: tensor cores, 2 · pixels · k · side²·c flop.
extern "C" __global__ void __launch_bounds__(288, 2) conv_fprop_wgmma_128x128(
    const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap weights, const float* __restrict__ bias,
    const float* __restrict__ mean, const float* __restrict__ var, const float* __restrict__ gamma, const float* __restrict__ beta,
    bf16* __restrict__ y, float* __restrict__ y32, float* __restrict__ parts, float eps, float slope, int n, int h, int w, int c, int k,
    int side, int pad) {
  ON_SM_90A(fprop(x, weights, {bias, mean, var, gamma, beta, eps, slope}, y, y32, parts, n, h, w, c, k, side, pad));
}
