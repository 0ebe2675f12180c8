// Convolution of stride 1 on the tensor cores, gradients of the weights and the bias: dw[k, r, s, c] = Σ_{n,p,q} dy[n, p, q, k] ·
// x[n, p + r − pad, q + s − pad, c] and db[k] = Σ_{n,p,q} dy[n, p, q, k].
//
// Split-K: the pixels are cut into parts, whose partial sums are stored separately in f32, [part][k·side²·c, then k of the bias], and added
// in a fixed order by conv_wgrad_sum (conv_wgrad.cu). There are no atomics, so every run gives the same bits.
#include "conv_bf16.cuh"
#include "conv_bias.cuh"

// dy [pixels, k] as rows k of the product.
template <class T>
struct Gradients {
  using Part = MnMajor<T::BM>;
  const bf16* __restrict__ dy;
  int row, k, at, end;
  bool whole;

  __device__ __forceinline__ Gradients(const bf16* dy_, int first_row, int k_, int begin, int end_)
      : dy(dy_), row(first_row + Part::chunk() * CHUNK), k(k_), at(begin + Part::row(0)), end(end_), whole(k_ % CHUNK == 0) {}

  __device__ __forceinline__ void load(Part& part) {
#pragma unroll
    for (int held = 0; held < Part::HELD; held++) {
      uint4* shared = part.at(Part::row(held), Part::chunk());
      const bf16* chunk = dy + ((size_t)at * k + row);
      const int count = at < end ? k - row : 0;
      if (!Part::active()) {
      } else if (whole) {
        cp_async16(shared, chunk, count > 0);
      } else {
        bf16* elements = reinterpret_cast<bf16*>(shared);
        for (int e = 0; e < CHUNK; e++) elements[e] = e < count ? chunk[e] : bf16{0};
      }
      at += Part::STRIDE;
    }
  }
};

// The im2col matrix, transposed: columns (r, s, c) of the product, at depth (n, p, q).
template <class T, bool PACKED>
struct Taps {
  using Part = MnMajor<T::BN>;
  Unfolded<PACKED> images;
  int pad, left;
  Odometer tap, at;  // at: q, p, n

  // For the tile that starts at tap `first`, over output pixels begin..end of those laid out [·, p, q].
  __device__ __forceinline__ Taps(const Unfolded<PACKED>& images_, int first, int begin, int end, int p, int q, int pad_)
      : images(images_), pad(pad_), left(end - begin - Part::row(0)),
        tap(first + Part::chunk() * CHUNK, 0, images_.c, images_.side), at(begin + Part::row(0), Part::STRIDE, q, p) {}

  __device__ __forceinline__ void load(Part& part) {
#pragma unroll
    for (int held = 0; held < Part::HELD; held++) {
      const int i = left > 0 ? at.y - pad : images.NOWHERE, j = at.x - pad;
      const int pixel = left > 0 ? (at.z * images.h + i) * images.w + j : 0;
      if (Part::active()) images.copy(part.at(Part::row(held), Part::chunk()), i, j, pixel, tap);
      at.advance();
      left -= Part::STRIDE;
    }
  }
};

template <class T, bool PACKED>
__device__ __forceinline__ void wgrad(const WgradParameters<bf16>& given) {
  const ConvShape& shape = given.shape;
  kernels_before();
  using A = Gradients<T>;
  using B = Taps<T, PACKED>;
  const int oh = shape.h + 2 * shape.pad - shape.side + 1, ow = shape.w + 2 * shape.pad - shape.side + 1;
  const int first_tap = blockIdx.x * T::BN, first_k = blockIdx.y * T::BM;
  const int begin = blockIdx.z * given.parts.part_pixels, end = min(shape.n * oh * ow - begin, given.parts.part_pixels) + begin;

  A a(given.dy, first_k, shape.k, begin, end);
  B b({given.x, shape.h, shape.w, shape.c, shape.side}, first_tap, begin, end, oh, ow, shape.pad);
  typedef Stage<A, B> Operands;
  DYN_SHARED(Operands, stages);
  float sum[T::MI][T::NI][4];
  multiply<T>(stages, a, b, (end - begin + BK - 1) / BK, sum);
  float* part = given.parts.sums + (size_t)blockIdx.z * given.parts.part_length;
  store<T>(stages, sum, NoEpilogue{}, part, first_k, first_tap, shape.k, shape.side * shape.side * shape.c);
}

// conv_wgrad_bf16_BMxBN and conv_wgrad_bf16_BMxBN_packed: the partial sums of dw, one tile of BM output channels and BN columns (r, s, c)
// of one part per block.
//
// Launch: ⌈side²·c / BN⌉ blocks in x, ⌈k / BM⌉ in y, ⌈pixels / part_pixels⌉ in z, 128 threads. Shared memory, dynamic:
// 4 · 64 · (BM + BN) bytes. Writes sums[part · part_length + k·side²·c]. x and dy are aligned to 16 bytes; where k is no multiple of 8
// (heads), dy is read element by element. Bound: tensor cores, 2 · pixels · k · side²·c flop; for few channels the bytes of dy.
//   packed  any c, for the first layers with 1 or 3 channels: the taps of a pixel are gathered one by one; else c is a multiple of 8
KERNEL(conv_wgrad_bf16_128x128, WgradParameters<bf16>, (THREADS, 2), SINCE_SM_80(wgrad<Tile<128, 128, 64, 64>, false>))
KERNEL(conv_wgrad_bf16_64x128, WgradParameters<bf16>, (THREADS, 3), SINCE_SM_80(wgrad<Tile<64, 128, 32, 64>, false>))
KERNEL(conv_wgrad_bf16_32x128, WgradParameters<bf16>, (THREADS, 4), SINCE_SM_80(wgrad<Tile<32, 128, 32, 32>, false>))
KERNEL(conv_wgrad_bf16_16x128, WgradParameters<bf16>, (THREADS, 4), SINCE_SM_80(wgrad<Tile<16, 128, 16, 32>, false>))
KERNEL(conv_wgrad_bf16_64x64_packed, WgradParameters<bf16>, (THREADS, 3), SINCE_SM_80(wgrad<Tile<64, 64, 32, 32>, true>))
KERNEL(conv_wgrad_bf16_32x64_packed, WgradParameters<bf16>, (THREADS, 4), SINCE_SM_80(wgrad<Tile<32, 64, 16, 32>, true>))

// The partial sums of db: sums[part · part_length + k] = Σ dy[pixel, k] over the pixels of the part (conv_bias.cuh).
//
// Launch: ⌈k / 256⌉ blocks in x, one for each part in y, 256 threads. Shared memory, static: 1 KiB. Bound: bytes, 2 · pixels · k.
KERNEL(conv_wgrad_bf16_bias, WgradBiasParameters<bf16>, (256), bias_share)
