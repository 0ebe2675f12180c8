// The transforms of a preprocessing list, as `src/data/interpret.rs` runs them.
//
// A list arrives as a program of one row per transform. Geometric transforms only say where a pixel comes from, the rows and
// the columns each on their own: a chain of them is a map from output rows to raw rows and one of columns. Transforms of bytes
// are a table of 256, and a chain of them is one too.
#pragma once
#include "block.cuh"
#include "reflect.cuh"
#include "philox.cuh"

// As `src/data/cuda/program.rs` numbers them.
enum Op {
  OP_PAD_CROP,
  OP_SHIFT,
  OP_CROP,
  OP_CROP_OR_RESIZE,
  OP_RESIZE,
  OP_FLIP,
  OP_JITTER,
  OP_TO_UNIT,
  OP_LCN,
  OP_NOISE,
  OP_MIN_MAX,
  OP_MEAN_STD,
};

// The most transforms of a list: `pipeline::MOST_TRANSFORMS`.
constexpr int MOST_STEPS = 32;
// Numbers of a row: integers (operation, padding, side before, side after, first draw), floats (two per channel).
constexpr int INTS_PER_STEP = 5;
constexpr int FLOATS_PER_STEP = 6;

// A geometric transform, its random numbers drawn: where rows and columns come from.
enum Geometry { GEOMETRY_NONE, GEOMETRY_CROP, GEOMETRY_SHIFT, GEOMETRY_RESIZE, GEOMETRY_FLIP };

struct Step {
  int op, geometry;
  int before, after;  // sides
  int offset[2];      // added to an output row, column
};

__device__ __forceinline__ Step read_step(const int* __restrict__ row, const Stream& random) {
  Step step;
  step.op = row[0];
  const int pad = row[1];
  step.before = row[2];
  step.after = row[3];
  unsigned draw = static_cast<unsigned>(row[4]);
  step.geometry = GEOMETRY_NONE;
  step.offset[0] = step.offset[1] = 0;
  unsigned places = 0;
  switch (step.op) {
    case OP_PAD_CROP:
    case OP_SHIFT:
      step.geometry = step.op == OP_SHIFT ? GEOMETRY_SHIFT : GEOMETRY_CROP;
      places = 2 * static_cast<unsigned>(pad) + 1;
      break;
    case OP_CROP_OR_RESIZE:
    case OP_CROP:
      step.geometry = GEOMETRY_CROP;
      places = static_cast<unsigned>(step.before - step.after + 1);
      if (step.op == OP_CROP_OR_RESIZE && !random.coin(draw++)) {
        step.geometry = GEOMETRY_RESIZE;
        places = 0;
      }
      break;
    case OP_RESIZE: step.geometry = GEOMETRY_RESIZE; break;
    case OP_FLIP: step.geometry = random.coin(draw) ? GEOMETRY_FLIP : GEOMETRY_NONE; break;
  }
  if (places) {
    for (unsigned axis = 0; axis < 2; ++axis) {
      step.offset[axis] = static_cast<int>(random.below(draw + axis, places)) - pad;
    }
  }
  return step;
}

// The raw row (axis 0) or column (axis 1) that number i comes from after `count` steps; −1 − s where step s padded it.
__device__ __forceinline__ int trace(const Step* steps, int count, int axis, int i) {
  for (int s = count - 1; s >= 0; --s) {
    const Step& step = steps[s];
    switch (step.geometry) {
      case GEOMETRY_CROP:
        i += step.offset[axis];
        if (i < 0 || i >= step.before) return -1 - s;
        break;
      case GEOMETRY_SHIFT: i = reflect(i + step.offset[axis], step.before); break;
      case GEOMETRY_RESIZE: i = (2 * i + 1) * step.before / (2 * step.after); break;
      case GEOMETRY_FLIP: i = axis == 1 ? step.before - 1 - i : i; break;
    }
  }
  return i;
}

// Fills the maps of `side` rows and as many columns. All threads of the block call it; complete after the next barrier.
__device__ __forceinline__ void trace_all(const Step* steps, int count, int side, short* rows, short* columns) {
  for (int i = threadIdx.x; i < side; i += blockDim.x) {
    rows[i] = static_cast<short>(trace(steps, count, 0, i));
    columns[i] = static_cast<short>(trace(steps, count, 1, i));
  }
}

// Which step padded a pixel, the later of the two where row and column were; negative where none did.
__device__ __forceinline__ int padded_by(int row, int column) { return max(-1 - row, -1 - column); }

// Brightness: ITU-R 601 in 16-bit fixed point, `images::luma`.
__device__ __forceinline__ int luma(int r, int g, int b) {
  return (19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16;
}

// `jitter::blend`: base + factor · (value − base), truncated to a byte.
__device__ __forceinline__ unsigned char blend(int value, int base, float factor) {
  const float origin = static_cast<float>(base);
  const float blended = origin + factor * (static_cast<float>(value) - origin);
  return static_cast<unsigned char>(static_cast<int>(fminf(fmaxf(blended, 0.0f), 255.0f)));
}

// Sum over the n values of an image, and Σ|n · value − sum|.
struct Contrast {
  long long n, sum, spread;

  // What LCN makes of a byte.
  __device__ __forceinline__ float normalised(int byte) const {
    if (spread == 0) return 0.0f;  // a constant image has no contrast
    const float scale = static_cast<float>(n) / static_cast<float>(spread);
    return static_cast<float>(n * byte - sum) * scale;
  }
};

// Where value i of an image (NHWC) lies.
struct Place {
  int y, x, c;

  __device__ __forceinline__ Place(int i, int side, int channels) {
    const int p = channels == 3 ? i / 3 : i;
    c = i - p * channels;
    y = p / side;
    x = p - y * side;
  }

  // The next value.
  __device__ __forceinline__ void advance(int side, int channels) {
    if (++c < channels) return;
    c = 0;
    if (++x < side) return;
    x = 0;
    ++y;
  }
};

// One transform of floats on value and its channel; `normal` is the value's own.
__device__ __forceinline__ float apply(int op, const float* __restrict__ numbers, int channel, float value, float normal) {
  const float a = numbers[channel], b = numbers[3 + channel];
  switch (op) {
    case OP_NOISE: return value + numbers[0] * normal;
    case OP_MIN_MAX: return (value - a) / (b - a);
    default: return (value - a) / b;
  }
}
