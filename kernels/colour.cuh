// Changes of colour, byte by byte or pixel by pixel: `src/data/jitter.rs`, operation by operation.
#pragma once
#include "philox.cuh"

struct Colour {
  int r, g, b;
};

// Brightness: ITU-R 601 in 16-bit fixed point, `images::luma`.
__device__ __forceinline__ int luma(const Colour& colour) {
  return (19595 * colour.r + 38470 * colour.g + 7471 * colour.b + 0x8000) >> 16;
}

// `jitter::blended`: base + factor · (value − base), truncated to a byte.
__device__ __forceinline__ int blend(int value, int base, float factor) {
  const float origin = static_cast<float>(base);
  const float blended = origin + factor * (static_cast<float>(value) - origin);
  return static_cast<int>(fminf(fmaxf(blended, 0.0f), 255.0f));
}

// `jitter::hsv`: quotients in float, sums in double, as in Pillow. The hue is rotated by `steps` of 255.
__device__ __forceinline__ Colour hsv(const Colour& colour, int steps) {
  const int most = max(colour.r, max(colour.g, colour.b)), least = min(colour.r, min(colour.g, colour.b));
  if (most == least) return {steps, 0, most};
  const float range = static_cast<float>(most - least);
  const double red = static_cast<float>(most - colour.r) / range;
  const double green = static_cast<float>(most - colour.g) / range;
  const double blue = static_cast<float>(most - colour.b) / range;
  const double sixths = colour.r == most ? blue - green : colour.g == most ? 2.0 + red - blue : 4.0 + green - red;
  double turn = static_cast<double>(static_cast<float>(sixths)) / 6.0 + 1.0;
  if (turn >= 1.0) turn -= 1.0;
  const int hue = static_cast<int>(static_cast<double>(static_cast<float>(turn)) * 255.0);
  const int saturation = static_cast<int>(static_cast<double>(range / static_cast<float>(most)) * 255.0);
  return {(hue + steps) & 255, saturation, most};
}

// `jitter::rgb`: exact quotients, rounded half up.
__device__ __forceinline__ Colour rgb(const Colour& hsv) {
  constexpr unsigned ONE = 255 * 255;
  const int hue = 6 * hsv.r, rest = hue % 255, value = hsv.b;
  const auto dimmed = [&](int share) {
    const unsigned kept = ONE - static_cast<unsigned>(hsv.g * share);
    return static_cast<int>((2 * static_cast<unsigned>(value) * kept + ONE) / (2 * ONE));
  };
  const int low = dimmed(255), falling = dimmed(rest), rising = dimmed(255 - rest);
  switch (hue / 255 % 6) {
    case 0: return {value, rising, low};
    case 1: return {falling, value, low};
    case 2: return {low, value, rising};
    case 3: return {low, falling, value};
    case 4: return {rising, low, value};
    default: return {value, low, falling};
  }
}

// The changes that a jitter consists of.
enum ChangeKind { CHANGE_BRIGHTNESS, CHANGE_CONTRAST, CHANGE_SATURATION, CHANGE_HUE };

// One change of all pixels, its random numbers already drawn: brightness and contrast blend with the grey `base`, saturation blends with
// the pixel's own grey, hue is rotated by `base` steps.
struct Change {
  int kind, base;
  float factor;

  __device__ __forceinline__ bool mixes() const { return kind >= CHANGE_SATURATION; }

  // The new value of a grey pixel, or of one channel if the change does not mix channels.
  __device__ __forceinline__ int of_grey(int value) const { return mixes() ? value : blend(value, base, factor); }

  __device__ __forceinline__ Colour of(const Colour& colour) const {
    if (kind == CHANGE_HUE) return rgb(hsv(colour, base));
    const int grey = kind == CHANGE_SATURATION ? luma(colour) : base;
    return {blend(colour.r, grey, factor), blend(colour.g, grey, factor), blend(colour.b, grey, factor)};
  }
};

// One of the 24 orders of the four changes: `jitter::order`. Four bits for each, the first change in the lowest.
__device__ __forceinline__ unsigned order_of_changes(unsigned index) {
  const auto insert = [](unsigned order, unsigned place, unsigned change) {
    const unsigned low = order & ((1u << 4 * place) - 1);
    return low | change << 4 * place | (order >> 4 * place) << (4 * place + 4);
  };
  const unsigned two = index >= 12 ? CHANGE_BRIGHTNESS | CHANGE_CONTRAST << 4 : CHANGE_CONTRAST | CHANGE_BRIGHTNESS << 4;
  return insert(insert(two, index % 12 / 4, CHANGE_SATURATION), index % 4, CHANGE_HUE);
}

// A jitter, its random numbers already drawn.
struct Jitter {
  unsigned order;
  float bright, steep, vivid;
  int turn;  // steps of hue
  bool saturates, turns;

  // `amounts`: of brightness, contrast, saturation, hue.
  __device__ __forceinline__ Jitter(const float* __restrict__ amounts, const Stream& random, unsigned draw, int channels)
      : order(order_of_changes(random.below(draw, 24))), vivid(1.0f), turn(0) {
    const auto factor = [&](unsigned i) {
      return random.range(draw + 1 + i, fmaxf(1.0f - amounts[i], 0.0f), 1.0f + amounts[i]);
    };
    bright = factor(0);
    steep = factor(1);
    saturates = channels == 3 && amounts[2] > 0.0f;
    turns = channels == 3 && amounts[3] > 0.0f;
    if (saturates) vivid = factor(2);
    if (turns) turn = static_cast<int>(random.range(draw + 4, -amounts[3], amounts[3]) * 255.0f) & 255;
  }
};
