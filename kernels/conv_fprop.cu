// Convolution, forward: y[n, p, q, k] = b[k] + Σ_{r,s,c} x[n, p·stride + r − pad, q·stride + s − pad, c] · w[k, r, s, c].
#include "conv.cuh"
#include "conv_parameters.cuh"

// The weights [k, depth] as columns of the product.
template <class T>
struct WeightRows : KMajor<T, T::BN> {
  using Base = KMajor<T, T::BN>;
  const float* __restrict__ weights;
  int first, k, depth, at;
  bool quads;

  __device__ __forceinline__ WeightRows(const float* weights_, int first_, int k_, int depth_)
      : weights(weights_), first(first_), k(k_), depth(depth_), at(Base::depth()), quads(in_quads(weights_, depth_)) {}

  __device__ __forceinline__ void load() {
#pragma unroll
    for (int l = 0; l < Base::HELD; l++) {
      const int row = first + Base::row(l);
      this->held[l] = load_quad(weights + ((size_t)row * depth + at), Base::active() && row < k ? depth - at : 0, quads);
    }
    at += BK;
  }
};

template <class T, bool QUADS>
__device__ __forceinline__ void fprop(const FpropParameters<float>& given) {
  const ConvShape& shape = given.shape;
  const FpropResult<float>& result = given.result;
  const Epilogue epilogue{result.after};
  kernels_before();
  const int oh = (shape.h + 2 * shape.pad - shape.side) / shape.stride + 1, ow = (shape.w + 2 * shape.pad - shape.side) / shape.stride + 1;
  const int pixels = shape.n * oh * ow, depth = shape.side * shape.side * shape.c;
  // Neighbouring blocks read the same pixels, which then come from L2.
  const int tiles = (shape.k + T::BN - 1) / T::BN;
  const int first_pixel = blockIdx.x / tiles * T::BM, first_k = blockIdx.x % tiles * T::BN;

  Windows<T, QUADS, 1> a(given.x, shape.h, shape.w, shape.c, shape.side, shape.side);
  a.rows(first_pixel, pixels, oh, ow, shape.stride, -shape.pad, -shape.pad);
  WeightRows<T> b(given.weights, first_k, shape.k, depth);
  float sum[T::TM][T::TN];
  multiply<T>(a, b, (depth + BK - 1) / BK, sum);
  if (result.parts) column_moments<T>(sum, result.parts, first_pixel, first_k, pixels, shape.k);

  const bool quads = in_quads(result.y, shape.k);
#pragma unroll
  for (int g = 0; g < T::TN / 4; g++) {
    const int column = first_k + T::column(g);
    Epilogue::Channel channels[4];
#pragma unroll
    for (int e = 0; e < 4; e++) channels[e] = epilogue.of(column + e, shape.k);
#pragma unroll
    for (int i = 0; i < T::TM; i++) {
      const int pixel = first_pixel + T::row(i / 4) + i % 4;
      const float* s = &sum[i][4 * g];
      const float4 v = make_float4(epilogue(s[0], channels[0]), epilogue(s[1], channels[1]), epilogue(s[2], channels[2]),
                                   epilogue(s[3], channels[3]));
      store_quad(result.y + ((size_t)pixel * shape.k + column), v, pixel < pixels ? shape.k - column : 0, quads);
    }
  }
}

// conv_fprop_BMxBN_quads and conv_fprop_BMxBN_singles: y = act(norm(conv(x, w) + b)), one tile of BM output pixels and BN output channels per
// block.
//
// Launch: ⌈pixels / BM⌉ · ⌈k / BN⌉ blocks in x; BM·BN / (TM·TN) threads, as in the launch bounds. Shared memory, static:
// 2 · 8 · (BM + BN + 8) floats, and up to 9 · BN. Bound: FMA throughput, 2 · pixels · k · side² · c flop, where k is 32 or more; for k = 8 the
// reads of shared memory are nearly as slow.
//   quads    c a multiple of 4 and x aligned to 16 bytes: x is read four channels at a time
//   singles  any c, as in the first layers with 1 or 3 channels: x is read element by element
// bias may be null; so may mean (with var), gamma and beta; a slope of 1 is no activation. Where `parts` is not null, it gets each tile's
// moments (column_moments) of the sums without the bias, and the epilogue is the bias alone. 64x64 is for layers in which larger tiles would
// not occupy the whole device, 256x32 and 256x8 are for few output channels.
KERNEL(conv_fprop_128x64_quads, FpropParameters<float>, (128, 3), fprop<Tile<128, 64, 8, 8>, true>)
KERNEL(conv_fprop_128x64_singles, FpropParameters<float>, (128, 3), fprop<Tile<128, 64, 8, 8>, false>)
KERNEL(conv_fprop_64x64_quads, FpropParameters<float>, (128, 4), fprop<Tile<64, 64, 4, 8>, true>)
KERNEL(conv_fprop_64x64_singles, FpropParameters<float>, (128, 4), fprop<Tile<64, 64, 4, 8>, false>)
KERNEL(conv_fprop_256x32_quads, FpropParameters<float>, (128, 3), fprop<Tile<256, 32, 8, 8>, true>)
KERNEL(conv_fprop_256x32_singles, FpropParameters<float>, (128, 3), fprop<Tile<256, 32, 8, 8>, false>)
KERNEL(conv_fprop_256x8_quads, FpropParameters<float>, (128, 4), fprop<Tile<256, 8, 4, 4>, true>)
KERNEL(conv_fprop_256x8_singles, FpropParameters<float>, (128, 4), fprop<Tile<256, 8, 4, 4>, false>)
