// Convolution, gradients of the weights and the bias: dw[k, r, s, c] = Σ_{n,p,q} dy[n, p, q, k] · x[n, p·stride + r − pad,
// q·stride + s − pad, c] and db[k] = Σ_{n,p,q} dy[n, p, q, k].
//
// Split-K: the pixels are cut into parts, whose partial sums are stored separately, [part][k·side²·c, then k of the bias], and added in a
// fixed order by conv_wgrad_sum. There are no atomics, so every run gives the same bits.
#include "conv.cuh"
#include "conv_bias.cuh"

// dy [pixels, k] as rows k of the product.
template <class T>
struct Gradients : MnMajor<T, T::BM> {
  using Base = MnMajor<T, T::BM>;
  const float* __restrict__ dy;
  int row, k, at, end;
  bool quads;

  __device__ __forceinline__ Gradients(const float* dy_, int first_row, int k_, int begin, int end_)
      : dy(dy_), row(first_row + Base::row()), k(k_), at(begin + Base::depth(0)), end(end_), quads(in_quads(dy_, k_)) {}

  __device__ __forceinline__ void load() {
#pragma unroll
    for (int l = 0; l < Base::HELD; l++) {
      this->held[l] = load_quad(dy + ((size_t)at * k + row), Base::active() && at < end ? k - row : 0, quads);
      at += Base::STRIDE;
    }
  }
};

// The im2col matrix of x, transposed: columns (r, s, c) of the product, at depth (n, p, q). With QUADS_READ, c is a multiple of four and x
// is aligned to 16 bytes.
template <class T, bool QUADS_READ>
struct Taps : MnMajor<T, T::BN> {
  using Base = MnMajor<T, T::BN>;
  static constexpr int SINGLES = QUADS_READ ? 1 : 4;
  const float* __restrict__ x;
  int h, w, c, stride, left, end;
  Odometer at;  // q, p, n
  int r[SINGLES], s[SINGLES], channel[SINGLES];

  __device__ __forceinline__ Taps(const float* x_, int h_, int w_, int c_, int side, int stride_, int pad, int first_column,
                                  int begin, int end_, int oh, int ow)
      : x(x_), h(h_), w(w_), c(c_), stride(stride_), left(end_ - begin - Base::depth(0)), end(end_),
        at(begin + Base::depth(0), Base::STRIDE, ow, oh) {
#pragma unroll
    for (int e = 0; e < SINGLES; e++) {
      const int column = first_column + Base::row() + e;
      const bool exists = Base::active() && column < side * side * c;
      // Columns past the last tap are placed outside every image, so that they read zeros.
      r[e] = exists ? column / c / side - pad : -(1 << 30);
      s[e] = column / c % side - pad;
      channel[e] = column % c;
    }
  }

  __device__ __forceinline__ bool inside(int e) const {
    return left > 0 && (unsigned)(at.y * stride + r[e]) < (unsigned)h && (unsigned)(at.x * stride + s[e]) < (unsigned)w;
  }

  __device__ __forceinline__ const float* element(int e) const {
    const int pixel = (at.z * h + at.y * stride + r[e]) * w + at.x * stride + s[e];
    return x + ((long long)pixel * c + channel[e]);
  }

  __device__ __forceinline__ float single(int e) const { return inside(e) ? *element(e) : 0.0f; }

  __device__ __forceinline__ void load() {
#pragma unroll
    for (int l = 0; l < Base::HELD; l++) {
      if (QUADS_READ) {
        this->held[l] = inside(0) ? *reinterpret_cast<const float4*>(element(0)) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      } else {
        this->held[l] = make_float4(single(0), single(1 % SINGLES), single(2 % SINGLES), single(3 % SINGLES));
      }
      at.advance();
      left -= Base::STRIDE;
    }
  }
};

template <class T, bool QUADS>
__device__ __forceinline__ void wgrad(const WgradParameters<float>& given) {
  const ConvShape& shape = given.shape;
  kernels_before();
  const int oh = (shape.h + 2 * shape.pad - shape.side) / shape.stride + 1, ow = (shape.w + 2 * shape.pad - shape.side) / shape.stride + 1;
  const int taps = shape.side * shape.side * shape.c;
  const int first_tap = blockIdx.x * T::BN, first_k = blockIdx.y * T::BM;
  const int begin = blockIdx.z * given.parts.part_pixels, end = min(shape.n * oh * ow - begin, given.parts.part_pixels) + begin;

  Gradients<T> a(given.dy, first_k, shape.k, begin, end);
  Taps<T, QUADS> b(given.x, shape.h, shape.w, shape.c, shape.side, shape.stride, shape.pad, first_tap, begin, end, oh, ow);
  float sum[T::TM][T::TN];
  multiply<T>(a, b, (end - begin + BK - 1) / BK, sum);

  float* part = given.parts.sums + (size_t)blockIdx.z * given.parts.part_length;
  const bool quads = in_quads(given.parts.sums, taps) && given.parts.part_length % 4 == 0;
#pragma unroll
  for (int i = 0; i < T::TM; i++) {
    const int row = first_k + T::row(i / 4) + i % 4;
#pragma unroll
    for (int g = 0; g < T::TN / 4; g++) {
      const int tap = first_tap + T::column(g);
      const float4 v = make_float4(sum[i][4 * g], sum[i][4 * g + 1], sum[i][4 * g + 2], sum[i][4 * g + 3]);
      store_quad(part + ((size_t)row * taps + tap), v, row < shape.k ? taps - tap : 0, quads);
    }
  }
}

// conv_wgrad_BMxBN_quads and conv_wgrad_BMxBN_singles: the partial sums of dw, one tile of BM output channels and BN columns (r, s, c) of
// one part per block.
//
// Launch: ⌈side²·c / BN⌉ blocks in x, ⌈k / BM⌉ in y, ⌈pixels / part_pixels⌉ in z; BM·BN / (TM·TN) threads, as in the launch bounds.
// Shared memory, static: 2 · 8 · (BM + BN + 8) floats. Writes sums[part · part_length + k·side²·c]. Bound: FMA throughput,
// 2 · pixels · k · side² · c flop; for one output channel (the head), the bytes of x.
//   quads    c a multiple of 4 and x aligned to 16 bytes: x is read four channels at a time
//   singles  any c, as in the first layers with 1 or 3 channels: x is read element by element
KERNEL(conv_wgrad_128x64_quads, WgradParameters<float>, (128, 3), wgrad<Tile<128, 64, 8, 8>, true>)
KERNEL(conv_wgrad_128x64_singles, WgradParameters<float>, (128, 3), wgrad<Tile<128, 64, 8, 8>, false>)
KERNEL(conv_wgrad_64x64_quads, WgradParameters<float>, (128, 4), wgrad<Tile<64, 64, 4, 8>, true>)
KERNEL(conv_wgrad_64x64_singles, WgradParameters<float>, (128, 4), wgrad<Tile<64, 64, 4, 8>, false>)
KERNEL(conv_wgrad_32x128_quads, WgradParameters<float>, (128, 4), wgrad<Tile<32, 128, 4, 8>, true>)
KERNEL(conv_wgrad_32x128_singles, WgradParameters<float>, (128, 4), wgrad<Tile<32, 128, 4, 8>, false>)
KERNEL(conv_wgrad_8x128_quads, WgradParameters<float>, (64, 8), wgrad<Tile<8, 128, 4, 4>, true>)
KERNEL(conv_wgrad_8x128_singles, WgradParameters<float>, (64, 8), wgrad<Tile<8, 128, 4, 4>, false>)

// The partial sums of db: sums[part · part_length + k] = Σ dy[pixel, k] over the pixels of the part (conv_bias.cuh).
//
// Launch: ⌈k / 256⌉ blocks in x, one for each part in y, 256 threads. Shared memory, static: 1 KiB. Bound: bytes, 4 · pixels · k.
KERNEL(conv_wgrad_bias, WgradBiasParameters<float>, (256), bias_share)

struct WgradSumParameters {
  const float* sums;
  float *dw, *db;
  int parts, part_length, length, dw_length;
};

// Adds the parts: dw[i] = Σ_part sums[part · part_length + i] for i < dw_length, db[i − dw_length] for the rest below `length`. db may
// be null where the length is that of dw.
//
// Launch: ⌈length / 32⌉ blocks in x, 256 threads: eight rows of 32 take the parts in turn, and their sums are added in order. Shared
// memory, static: 1 KiB. Bound: bytes, 4 · (parts + 1) · length.
static __device__ __forceinline__ void sum_of_parts(const WgradSumParameters& given) {
  kernels_before();
  __shared__ float shared[8][32];
  const int row = threadIdx.x / 32, lane = threadIdx.x % 32, i = blockIdx.x * 32 + lane;
  float sum = 0.0f;
  if (i < given.length) {
#pragma unroll 4
    for (int part = row; part < given.parts; part += 8) sum += given.sums[(size_t)part * given.part_length + i];
  }
  shared[row][lane] = sum;
  __syncthreads();
  if (row > 0 || i >= given.length) return;
#pragma unroll
  for (int r = 1; r < 8; r++) sum += shared[r][lane];
  if (i < given.dw_length)
    given.dw[i] = sum;
  else
    given.db[i - given.dw_length] = sum;
}
KERNEL(conv_wgrad_sum, WgradSumParameters, (256), sum_of_parts)
