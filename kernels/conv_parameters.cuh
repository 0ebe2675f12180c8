// What the kernels of a convolution take, in f32 and in bf16.
#pragma once
#include "epilogue.cuh"

// Images [n, h, w, c], kernels [k, side, side, c].
struct ConvShape {
  int n, h, w, c, k, side, stride, pad;
};

// What fprop writes: y = act(norm(sum + bias)), and where `parts` is not null, each tile's mean and M2 of every channel.
template <class T>
struct FpropResult {
  After after;
  T* y;
  float* y32;  // not null: in place of y
  float* parts;
};

template <class T>
struct FpropParameters {
  const T *x, *weights;
  FpropResult<T> result;
  ConvShape shape;
};

// Split-K: the pixels of wgrad are cut into parts of `part_pixels`; the sums of part i begin at sums[i · part_length].
struct WgradParts {
  float* sums;
  int part_pixels, part_length;
};

template <class T>
struct WgradParameters {
  const T *x, *dy;
  WgradParts parts;
  ConvShape shape;
};

// Of the bias: dy [pixels, k].
template <class T>
struct WgradBiasParameters {
  const T* dy;
  WgradParts parts;
  int pixels, k;
};
