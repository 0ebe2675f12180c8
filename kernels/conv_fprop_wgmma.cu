// Convolution of stride 1 on the tensor cores of sm_90a, forward: conv_fprop_bf16.cu with WGMMA, which reads both operands from shared
// memory and leaves the registers to the accumulators, and with TMA, which copies the operands. For many channels.
//
// architectures: 90a
#include "conv_wgmma.cuh"

struct FpropMapsParameters {
  CUtensorMap x, weights;
  FpropResult<bf16> result;
  ConvShape shape;
};

__device__ __forceinline__ void fprop(const FpropMapsParameters& given) {
  const ConvShape& shape = given.shape;
  const FpropResult<bf16>& result = given.result;
  const Epilogue epilogue{result.after};
  const int oh = shape.h + 2 * shape.pad - shape.side + 1, ow = shape.w + 2 * shape.pad - shape.side + 1, pixels = shape.n * oh * ow;
  // Neighbouring blocks read the same pixels, which then come from L2.
  const int tiles = (shape.k + T::BN - 1) / T::BN;
  const int first_pixel = blockIdx.x / tiles * T::BM, first_k = blockIdx.x % tiles * T::BN;
  const int chunks = shape.c / DEPTH, steps = shape.side * shape.side * chunks;

  Pipeline pipeline;
  kernels_before();
  if (pipeline.copies()) {
    // The window of the tile's first pixel.
    const int j = first_pixel % ow - shape.pad, i = first_pixel / ow % oh - shape.pad, image = first_pixel / ow / oh;
    int chunk = 0, s = 0, r = 0;
    for (int step = 0; step < steps; step++) {
      Operands& stage = pipeline.begin_copies(step);
      tma_load_windows(stage.a, given.x, pipeline.full(step), chunk * DEPTH, j, i, image, s, r);
      tma_load_rows(stage.b, given.weights, pipeline.full(step), step * DEPTH, first_k);
      if (++chunk == chunks) {
        chunk = 0;
        if (++s == shape.side) s = 0, r++;
      }
    }
  }
  // The warp that copies has nothing more to do.
  if (!pipeline.multiplies()) return;

  float sum[T::MI][T::NI][4];
  pipeline.multiply<false>(sum, steps);
  if (result.parts) column_moments<T>(pipeline.stages, sum, result.parts, first_pixel, first_k, pixels, shape.k);
  if (result.y32)
    store<T>(pipeline.stages, sum, epilogue, result.y32, first_pixel, first_k, pixels, shape.k);
  else
    store<T>(pipeline.stages, sum, epilogue, result.y, first_pixel, first_k, pixels, shape.k);
}

// y = act(norm(conv(x, w) + b)), one tile of 128 output pixels and 128 output channels per block. The parameters are those of
// conv_fprop_bf16_128x128, except that x and w are tensor maps: x is an im2col map of [n, h, w, c] with boxes of 64 channels of 128 pixels,
// w a map of the rows [k, side²·c] with boxes of 64 elements of 128 rows.
//
// Launch: ⌈pixels / 128⌉ · ⌈k / 128⌉ blocks in x, 288 threads; c is a multiple of 64. Shared memory: 3 · 128 · 256 + 1024 bytes, dynamic,
// and 128, static. Bound: tensor cores, 2 · pixels · k · side²·c flop.
KERNEL(conv_fprop_wgmma_128x128, const __grid_constant__ FpropMapsParameters, (288, 2), ON_SM_90A(fprop))
