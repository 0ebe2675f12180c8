// The operands of fprop, for the main loop in conv_bf16.cuh: windows of output pixels, rows of weights.
#pragma once
#include "conv_bf16.cuh"

// Windows of output pixels as rows of the product.
template <class T, bool PACKED>
struct Windows {
  using Part = KMajor<T::BM>;
  Unfolded<PACKED> images;
  Odometer tap;
  int i[Part::HELD], j[Part::HELD], pixel[Part::HELD];

  // For the tile that starts at output pixel `first` of `outputs`, laid out [·, p, q].
  __device__ __forceinline__ Windows(const Unfolded<PACKED>& images_, int first, int outputs, int p, int q, int stride,
                                     int pad)
      : images(images_), tap(Part::chunk() * CHUNK, BK, images_.c, images_.side) {
#pragma unroll
    for (int held = 0; held < Part::HELD; held++) {
      const int output = first + Part::row(held);
      const bool exists = output < outputs;
      i[held] = exists ? output / q % p * stride - pad : images.NOWHERE;
      j[held] = output % q * stride - pad;
      pixel[held] = exists ? (output / q / p * images.h + i[held]) * images.w + j[held] : 0;
    }
  }

  __device__ __forceinline__ void load(Part& part) {
#pragma unroll
    for (int held = 0; held < Part::HELD; held++)
      if (Part::active()) images.copy(part.at(Part::row(held), Part::chunk()), i[held], j[held], pixel[held], tap);
    tap.advance();
  }
};

// Rows of the weights [k, depth] as columns of the product; depth is a multiple of 8.
template <class T>
struct Weights {
  using Part = KMajor<T::BN>;
  const bf16* __restrict__ weights;
  int first, k, depth, at;

  __device__ __forceinline__ Weights(const bf16* weights_, int first_, int k_, int depth_)
      : weights(weights_), first(first_), k(k_), depth(depth_), at(Part::chunk() * CHUNK) {}

  __device__ __forceinline__ void load(Part& part) {
#pragma unroll
    for (int held = 0; held < Part::HELD; held++) {
      const int row = first + Part::row(held);
      const bf16* chunk = weights + ((size_t)row * depth + at);
      if (Part::active()) cp_async16(part.at(Part::row(held), Part::chunk()), chunk, row < k && at < depth);
    }
    at += BK;
  }
};
