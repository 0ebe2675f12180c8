// Convolution of stride 1 on the tensor cores of sm_90a, gradient of the weights: conv_wgrad_bf16.cu with WGMMA, and with TMA, which copies
// both operands as they lie in memory, MN-major. For many channels.
//
// architectures: 90a
#include "conv_wgmma.cuh"

struct WgradMapsParameters {
  CUtensorMap x, dy;
  WgradParts parts;
  ConvShape shape;
};

__device__ __forceinline__ void wgrad(const WgradMapsParameters& given) {
  const ConvShape& shape = given.shape;
  const int oh = shape.h + 2 * shape.pad - shape.side + 1, ow = shape.w + 2 * shape.pad - shape.side + 1;
  const int first_tap = blockIdx.x * T::BN, first_k = blockIdx.y * T::BM;
  const int begin = blockIdx.z * given.parts.part_pixels, end = min(shape.n * oh * ow - begin, given.parts.part_pixels) + begin;
  const int steps = (end - begin + DEPTH - 1) / DEPTH;

  Pipeline pipeline;
  kernels_before();
  if (pipeline.copies()) {
    // A copy has 64 channels of one tap. If the last tile has only 64 columns, its second half is computed and not stored.
    const int chunks = shape.c / DEPTH, last = shape.side * shape.side * chunks - 1;
    for (int step = 0; step < steps; step++) {
      Operands& stage = pipeline.begin_copies(step);
      // All parts but the last consist of whole steps; after the last pixel TMA fills in zeros.
      const int pixel = begin + step * DEPTH;
      const int j = pixel % ow - shape.pad, i = pixel / ow % oh - shape.pad, image = pixel / ow / oh;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int column = min(first_tap / DEPTH + half, last), tap = column / chunks;
        tma_load_rows(stage.a + half * Operands::BLOCK, given.dy, pipeline.full(step), first_k + half * DEPTH, pixel);
        tma_load_windows(stage.b + half * Operands::BLOCK, given.x, pipeline.full(step), column % chunks * DEPTH, j, i, image,
                         tap % shape.side, tap / shape.side);
      }
    }
  }
  // The warp that copies has nothing more to do.
  if (!pipeline.multiplies()) return;

  float sum[T::MI][T::NI][4];
  pipeline.multiply<true>(sum, steps);
  float* part = given.parts.sums + (size_t)blockIdx.z * given.parts.part_length;
  store<T>(pipeline.stages, sum, NoEpilogue{}, part, first_k, first_tap, shape.k, shape.side * shape.side * shape.c);
}

// The partial sums of dw, one tile of 128 output channels and 128 columns (r, s, c) of one part per block. The parameters are those of
// conv_wgrad_bf16_128x128, except that x and dy are tensor maps: x is an im2col map of [n, h, w, c] with boxes of 64 channels of 64 pixels,
// dy a map of the rows [pixels, k] with boxes of 64 elements of 64 rows.
//
// Launch: ⌈side²·c / 128⌉ blocks in x, ⌈k / 128⌉ in y, ⌈pixels / part_pixels⌉ in z, 288 threads; part_pixels and c are multiples of 64,
// k of 8. Shared memory: 3 · 128 · 256 + 1024 bytes, dynamic, and 128, static. Bound: tensor cores, 2 · pixels · k · side²·c flop.
KERNEL(conv_wgrad_wgmma_128x128, const __grid_constant__ WgradMapsParameters, (288, 2), ON_SM_90A(wgrad))
