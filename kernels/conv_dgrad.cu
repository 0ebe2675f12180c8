// Convolution, gradient of the input: dx[n, i, j, c] = Σ_{k,r,s} dy[n, p, q, k] · w[k, r, s, c] over the outputs (p, q) whose tap
// (r, s) read (i, j): i = p·stride + r − pad, j = q·stride + s − pad.
#include "conv.cuh"
#include "conv_parameters.cuh"

// The weights [k, side, side, c] as columns c of the product, at depth (row of taps, column of taps, k). Of the taps only those of one
// phase: rows first_r, first_r + stride, … and columns first_s, first_s + stride, …
template <class T>
struct WeightColumns : MnMajor<T, T::BN> {
  using Base = MnMajor<T, T::BN>;
  const float* __restrict__ weights;
  int column, c, side, stride, first_r, first_s, tap_rows;
  Odometer at;  // k, column of taps, row of taps
  bool quads;

  __device__ __forceinline__ WeightColumns(const float* weights_, int first_column, int c_, int k, int side_, int stride_,
                                           int first_r_, int first_s_, int tap_rows_, int tap_columns)
      : weights(weights_),
        column(first_column + Base::row()),
        c(c_),
        side(side_),
        stride(stride_),
        first_r(first_r_),
        first_s(first_s_),
        tap_rows(tap_rows_),
        at(Base::depth(0), Base::STRIDE, k, max(tap_columns, 1)),
        quads(in_quads(weights_, c_)) {}

  __device__ __forceinline__ void load() {
#pragma unroll
    for (int l = 0; l < Base::HELD; l++) {
      const int tap = (first_r + at.z * stride) * side + first_s + at.y * stride;
      const bool exists = Base::active() && at.z < tap_rows;
      this->held[l] = load_quad(weights + (((size_t)at.x * side * side + tap) * c + column), exists ? c - column : 0, quads);
      at.advance();
    }
  }
};

struct DgradParameters {
  const float *dy, *weights;
  float* dx;
  ConvShape shape;
};

template <class T, bool QUADS>
__device__ __forceinline__ void dgrad(const DgradParameters& given) {
  const ConvShape& shape = given.shape;
  kernels_before();
  const int oh = (shape.h + 2 * shape.pad - shape.side) / shape.stride + 1, ow = (shape.w + 2 * shape.pad - shape.side) / shape.stride + 1;
  // All input pixels of one phase (i mod stride, j mod stride) are read by the same taps, those of neighbouring outputs.
  const int phase_i = blockIdx.y / shape.stride, phase_j = blockIdx.y % shape.stride;
  const int rows = (shape.h - phase_i + shape.stride - 1) / shape.stride, columns = (shape.w - phase_j + shape.stride - 1) / shape.stride;
  const int pixels = shape.n * rows * columns;
  const int tiles = (shape.c + T::BN - 1) / T::BN;
  const int first_pixel = blockIdx.x / tiles * T::BM, first_c = blockIdx.x % tiles * T::BN;
  if (first_pixel >= pixels) return;
  const int first_r = (phase_i + shape.pad) % shape.stride, first_s = (phase_j + shape.pad) % shape.stride;
  const int tap_rows = max(shape.side - first_r + shape.stride - 1, 0) / shape.stride;
  const int tap_columns = max(shape.side - first_s + shape.stride - 1, 0) / shape.stride;
  const int depth = tap_rows * tap_columns * shape.k;

  Windows<T, QUADS, -1> a(given.dy, oh, ow, shape.k, tap_rows, tap_columns);
  a.rows(first_pixel, pixels, rows, columns, 1, (phase_i + shape.pad) / shape.stride, (phase_j + shape.pad) / shape.stride);
  WeightColumns<T> b(given.weights, first_c, shape.c, shape.k, shape.side, shape.stride, first_r, first_s, tap_rows, tap_columns);
  float sum[T::TM][T::TN];
  multiply<T>(a, b, (depth + BK - 1) / BK, sum);

  const bool quads = in_quads(given.dx, shape.c);
#pragma unroll
  for (int i = 0; i < T::TM; i++) {
    const int row = first_pixel + T::row(i / 4) + i % 4;
    int pixel = row;
    if (shape.stride > 1) {
      const int image = row / columns / rows, at_i = row / columns % rows, at_j = row % columns;
      pixel = (image * shape.h + phase_i + at_i * shape.stride) * shape.w + phase_j + at_j * shape.stride;
    }
#pragma unroll
    for (int g = 0; g < T::TN / 4; g++) {
      const int column = first_c + T::column(g);
      const float4 v = make_float4(sum[i][4 * g], sum[i][4 * g + 1], sum[i][4 * g + 2], sum[i][4 * g + 3]);
      store_quad(given.dx + ((size_t)pixel * shape.c + column), v, row < pixels ? shape.c - column : 0, quads);
    }
  }
}

// conv_dgrad_BMxBN_quads and conv_dgrad_BMxBN_singles: dx = convᵀ(dy, w), one tile of BM input pixels and BN input channels per block.
//
// Launch: ⌈n · ⌈h / stride⌉ · ⌈w / stride⌉ / BM⌉ · ⌈c / BN⌉ blocks in x, stride² in y, one for each phase of the input pixels
// modulo the stride; BM·BN / (TM·TN) threads, as in the launch bounds. Shared memory, static: 2 · 8 · (BM + BN + 8) floats.
// Bound: FMA throughput, 2 · n·h·w · c · (side / stride)² · k flop; for one output channel (the head), the bytes of dx.
//   quads    k a multiple of 4 and dy aligned to 16 bytes: dy is read four channels at a time
//   singles  any k: dy is read element by element
KERNEL(conv_dgrad_128x64_quads, DgradParameters, (128, 3), dgrad<Tile<128, 64, 8, 8>, true>)
KERNEL(conv_dgrad_128x64_singles, DgradParameters, (128, 3), dgrad<Tile<128, 64, 8, 8>, false>)
KERNEL(conv_dgrad_64x64_quads, DgradParameters, (128, 4), dgrad<Tile<64, 64, 4, 8>, true>)
KERNEL(conv_dgrad_64x64_singles, DgradParameters, (128, 4), dgrad<Tile<64, 64, 4, 8>, false>)
KERNEL(conv_dgrad_256x32_quads, DgradParameters, (128, 3), dgrad<Tile<256, 32, 8, 8>, true>)
KERNEL(conv_dgrad_256x32_singles, DgradParameters, (128, 3), dgrad<Tile<256, 32, 8, 8>, false>)
KERNEL(conv_dgrad_256x8_quads, DgradParameters, (128, 4), dgrad<Tile<256, 8, 4, 4>, true>)
KERNEL(conv_dgrad_256x8_singles, DgradParameters, (128, 4), dgrad<Tile<256, 8, 4, 4>, false>)
