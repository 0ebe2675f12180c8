// The transforms of a preprocessing list, as `src/data/interpret.rs` runs them.
//
// A list is given as a program of one row per transform. Geometric transforms only move pixels, rows and columns independently: a chain of
// them is one map from output rows to raw rows and one from output columns to raw columns; or, after an odd number of transposing ones
// (quarter turns), from output rows to raw columns and from output columns to raw rows. Changes of bytes that do not mix channels are a
// table of 256 values, and so is a chain of them; those that mix channels are computed pixel by pixel.
#pragma once
#include "block.cuh"
#include "reflect.cuh"
#include "philox.cuh"

enum class Op {
  NOTHING,
  PAD_CROP,
  SHIFT,
  CROP,
  CENTRE_CROP,
  RESIZE,
  FLIP,
  FLIP_VERTICAL,
  QUARTER_TURN,
  JITTER,
  TO_UNIT,
  LCN,
  NOISE,
  SPREAD_NOISE,
  CLAMP,
  BLACK_OUT,
  MIN_MAX,
  MEAN_STD,
};

// The most transforms of a list: `pipeline::MOST_TRANSFORMS`.
constexpr int MOST_TRANSFORMS = 32;
// A row has integers (operation, padding, side before, side after, first draw, choice) and floats (two per channel).
constexpr int INTS_PER_TRANSFORM = 6;
constexpr int FLOATS_PER_TRANSFORM = 6;

// How a geometric transform moves rows and columns.
enum Geometry { GEOMETRY_NONE, GEOMETRY_CROP, GEOMETRY_SHIFT, GEOMETRY_RESIZE, GEOMETRY_MIRROR };

struct Transform {
  Op op;
  int geometry;
  int before, after;  // sides
  int offset[2];      // added to an output row, column
  int mirrored;       // bit 0: columns, bit 1: rows
  int transposes;     // 1: rows and columns change places, before they are mirrored
};

__device__ __forceinline__ Transform read_transform(const int* __restrict__ row, const Stream& random) {
  Transform step;
  // A row that belongs to the branch of a random choice that was not drawn does nothing.
  const int choice = row[5];
  const bool taken = choice == 0 || random.coin(static_cast<unsigned>(abs(choice) - 1)) == (choice > 0);
  step.op = taken ? static_cast<Op>(row[0]) : Op::NOTHING;
  const int pad = row[1];
  step.before = row[2];
  step.after = row[3];
  const unsigned draw = static_cast<unsigned>(row[4]);
  step.geometry = GEOMETRY_NONE;
  step.offset[0] = step.offset[1] = 0;
  step.mirrored = step.transposes = 0;
  unsigned places = 0;
  switch (step.op) {
    case Op::PAD_CROP:
    case Op::SHIFT:
      step.geometry = step.op == Op::SHIFT ? GEOMETRY_SHIFT : GEOMETRY_CROP;
      places = 2 * static_cast<unsigned>(pad) + 1;
      break;
    case Op::CROP:
      step.geometry = GEOMETRY_CROP;
      places = static_cast<unsigned>(step.before - step.after + 1);
      break;
    case Op::CENTRE_CROP:
      step.geometry = GEOMETRY_CROP;
      step.offset[0] = step.offset[1] = (step.before - step.after) / 2;
      break;
    case Op::RESIZE: step.geometry = GEOMETRY_RESIZE; break;
    case Op::FLIP:
    case Op::FLIP_VERTICAL:
      step.geometry = GEOMETRY_MIRROR;
      if (random.coin(draw)) step.mirrored = step.op == Op::FLIP ? 1 : 2;
      break;
    case Op::QUARTER_TURN: {
      const int quarters = static_cast<int>(random.below(draw, 4));
      step.geometry = GEOMETRY_MIRROR;
      step.transposes = quarters & 1;
      step.mirrored = quarters ^ quarters >> 1;  // none; the transposed columns; both; the transposed rows
      break;
    }
    default: break;
  }
  if (places) {
    for (unsigned axis = 0; axis < 2; ++axis) {
      step.offset[axis] = static_cast<int>(random.below(draw + axis, places)) - pad;
    }
  }
  return step;
}

// What number i of the rows (axis 0) or columns (axis 1) comes from after `count` steps: a raw row or a raw column, the other one where
// these steps transpose; −1 − s where step s padded it.
__device__ __forceinline__ int trace(const Transform* steps, int count, int axis, int i) {
  for (int s = count - 1; s >= 0; --s) {
    const Transform& step = steps[s];
    switch (step.geometry) {
      case GEOMETRY_CROP:
        i += step.offset[axis];
        if (i < 0 || i >= step.before) return -1 - s;
        break;
      case GEOMETRY_SHIFT: i = reflect(i + step.offset[axis], step.before); break;
      case GEOMETRY_RESIZE: i = (2 * i + 1) * step.before / (2 * step.after); break;
      case GEOMETRY_MIRROR:
        i = step.mirrored >> (1 - axis) & 1 ? step.before - 1 - i : i;
        axis ^= step.transposes;
        break;
    }
  }
  return i;
}

// Fills the maps of `side` rows and as many columns; returns whether rows come from raw columns. All threads of the block call it; complete
// after the next barrier.
__device__ __forceinline__ bool trace_all(const Transform* steps, int count, int side, short* rows, short* columns) {
  for (int i = threadIdx.x; i < side; i += blockDim.x) {
    rows[i] = static_cast<short>(trace(steps, count, 0, i));
    columns[i] = static_cast<short>(trace(steps, count, 1, i));
  }
  int transposed = 0;
  for (int s = 0; s < count; ++s) transposed ^= steps[s].transposes;
  return transposed == 1;
}

// Which step padded a pixel, the later of the two where row and column were; negative where none did.
__device__ __forceinline__ int padded_by(int row, int column) { return max(-1 - row, -1 - column); }

// What LCN (local contrast normalisation) needs of an image's n bytes, `contrast::Histogram`: their sum, and Σ|n · value − sum|.
struct Contrast {
  long long n, sum, spread;

  // A byte after LCN.
  __device__ __forceinline__ float normalised(int byte) const {
    if (spread == 0) return 0.0f;  // a constant image has no contrast
    const float scale = static_cast<float>(n) / static_cast<float>(spread);
    return static_cast<float>(n * byte - sum) * scale;
  }
};

// The same for floats in [0, 1], as multiples of 2^-30: `contrast::lcn`.
struct FloatContrast {
  long long mean;
  float scale;

  static __device__ __forceinline__ long long fixed(float value) {
    return static_cast<long long>(value * 1073741824.0f);
  }

  __device__ __forceinline__ float normalised(float value) const {
    return static_cast<float>(fixed(value) - mean) * scale;
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

// Whether a place lies in the middle three fifths of both sides.
__device__ __forceinline__ bool in_centre(const Place& place, int side) {
  const int margin = side / 5;
  return min(place.y, place.x) >= margin && max(place.y, place.x) < side - margin;
}

// One transform of floats on a value at its place. `normal` is a random normal of that value; `spread` the deviation of Op::SPREAD_NOISE.
__device__ __forceinline__ float apply(Op op, const float* __restrict__ numbers, const Place& place, int side, float value,
                                       float normal, float spread) {
  const float a = numbers[place.c], b = numbers[3 + place.c];
  switch (op) {
    case Op::NOISE: return value + numbers[0] * normal;
    case Op::SPREAD_NOISE: return value + spread * normal;
    case Op::CLAMP: return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
    case Op::BLACK_OUT: return in_centre(place, side) != (numbers[0] != 0.0f) ? 0.0f : value;
    case Op::MIN_MAX: return (value - a) / (b - a);
    default: return (value - a) / b;
  }
}
