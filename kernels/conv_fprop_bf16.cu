// Convolution on the tensor cores, forward:
//   y[n, p, q, k] = b[k] + Σ_{r,s,c} x[n, p · stride + r − pad, q · stride + s − pad, c] · w[k, r, s, c].
// dgrad of stride 1 is the same sum over dy, with padding side − 1 − pad and flipped weights (cast.cu).
#include "conv_fprop_bf16.cuh"

template <class T, bool PACKED, bool STRIDED>
__device__ __forceinline__ void fprop(const FpropParameters<bf16>& given) {
  const ConvShape& shape = given.shape;
  const FpropResult<bf16>& result = given.result;
  const Epilogue epilogue{result.after};
  kernels_before();
  using A = Windows<T, PACKED>;
  using B = Weights<T>;
  const int stride = STRIDED ? shape.stride : 1;
  const int oh = (shape.h + 2 * shape.pad - shape.side) / stride + 1, ow = (shape.w + 2 * shape.pad - shape.side) / stride + 1;
  const int pixels = shape.n * oh * ow, depth = (shape.side * shape.side * shape.c + CHUNK - 1) / CHUNK * CHUNK;
  // Neighbouring blocks read the same pixels, which then come from L2.
  const int tiles = (shape.k + T::BN - 1) / T::BN;
  const int first_pixel = blockIdx.x / tiles * T::BM, first_k = blockIdx.x % tiles * T::BN;

  A a({given.x, shape.h, shape.w, shape.c, shape.side}, first_pixel, pixels, oh, ow, stride, shape.pad);
  B b(given.weights, first_k, shape.k, depth);
  typedef Stage<A, B> Operands;
  DYN_SHARED(Operands, stages);
  float sum[T::MI][T::NI][4];
  multiply<T>(stages, a, b, (depth + BK - 1) / BK, sum);
  if (result.parts) column_moments<T>(stages, sum, result.parts, first_pixel, first_k, pixels, shape.k);
  if (result.y32)
    store<T>(stages, sum, epilogue, result.y32, first_pixel, first_k, pixels, shape.k);
  else
    store<T>(stages, sum, epilogue, result.y, first_pixel, first_k, pixels, shape.k);
}

// conv_fprop_bf16_BMxBN and conv_fprop_bf16_BMxBN_packed: y = act(norm(conv(x, w) + b)), one tile of BM output pixels and BN output
// channels per block. The result is written to y in bf16 or, where `y32` is not null, to y32 in f32. bias may be null; so may mean (with
// var), gamma and beta; a slope of 1 is no activation. Where `parts` is not null, it gets each tile's mean and M2 of every channel,
// [⌈pixels / BM⌉][2][k], for a norm that follows (norm.cu); the arguments of the epilogue are null then.
//
// Launch: ⌈pixels / BM⌉ · ⌈k / BN⌉ blocks in x, 128 threads. Shared memory, dynamic: 4 · 64 · (BM + BN) bytes. x and w are aligned to 16
// bytes; a row of w has side²·c elements, padded with zeros to a multiple of 8. Bound: tensor cores, 2 · pixels · k · side²·c flop, where
// there are some 300 flop or more per byte of x and y; with fewer, as in the first layers, the bytes of y.
//   packed  any c, for the first layers with 1 or 3 channels: the taps of a pixel are gathered one by one; else c is a multiple of 8
//   strided any stride; else it is 1
KERNEL(conv_fprop_bf16_128x128, FpropParameters<bf16>, (THREADS, 2), SINCE_SM_80(fprop<Tile<128, 128, 64, 64>, false, false>))
KERNEL(conv_fprop_bf16_128x64, FpropParameters<bf16>, (THREADS, 3), SINCE_SM_80(fprop<Tile<128, 64, 64, 32>, false, false>))
KERNEL(conv_fprop_bf16_64x64, FpropParameters<bf16>, (THREADS, 4), SINCE_SM_80(fprop<Tile<64, 64, 32, 32>, false, false>))
KERNEL(conv_fprop_bf16_128x32, FpropParameters<bf16>, (THREADS, 4), SINCE_SM_80(fprop<Tile<128, 32, 32, 32>, false, false>))
KERNEL(conv_fprop_bf16_128x16, FpropParameters<bf16>, (THREADS, 4), SINCE_SM_80(fprop<Tile<128, 16, 32, 16>, false, false>))
KERNEL(conv_fprop_bf16_64x64_packed, FpropParameters<bf16>, (THREADS, 4), SINCE_SM_80(fprop<Tile<64, 64, 32, 32>, true, false>))
KERNEL(conv_fprop_bf16_64x32_packed, FpropParameters<bf16>, (THREADS, 4), SINCE_SM_80(fprop<Tile<64, 32, 16, 32>, true, false>))
KERNEL(conv_fprop_bf16_64x16_packed, FpropParameters<bf16>, (THREADS, 5), SINCE_SM_80(fprop<Tile<64, 16, 16, 16>, true, false>))
KERNEL(conv_fprop_bf16_64x64_strided, FpropParameters<bf16>, (THREADS, 4), SINCE_SM_80(fprop<Tile<64, 64, 32, 32>, false, true>))
KERNEL(conv_fprop_bf16_64x32_packed_strided, FpropParameters<bf16>, (THREADS, 4),
       SINCE_SM_80(fprop<Tile<64, 32, 16, 32>, true, true>))
