// CutPaste: patches of good images, pasted into a sample with soft edges: `src/data/anomaly/cutpaste.rs`, integer by integer.
#include "source.cuh"

// The most patches of an image, and random numbers per patch.
constexpr int MOST_PATCHES = 3;
constexpr unsigned PER_PATCH = 16;

// Tables, one after the other: `Tables` of `cutpaste.rs`. ENTRIES numbers of each but the curve of the edge, which has 2 · MIDDLE + 1.
constexpr int ENTRIES = 64;
constexpr int MIDDLE = 64;
enum { BLOCKS_AT = 0, ASPECTS_AT = 64, LENGTHS_AT = 128, WIDTHS_AT = 192, SHARPNESSES_AT = 256, CURVE_AT = 320 };

// Pixels beyond a patch's border that its edge may still show in, in units of 2⁻⁸ px: four of the largest standard deviation, along a diagonal.
constexpr int MARGIN = 2560;
// Changes of up to so many levels do not count.
constexpr int UNSEEN = 2;

// A source image and where it goes. Lengths in units of 2⁻⁸ px, angles of 2⁻¹⁴; rows before columns.
struct Patch {
  int centre[2], reach[2];
  int along, across;  // half sides
  int sine, cosine;
  int sharpness;
  bool from_other, flips_rows, flips_columns, transposes;
  int roll[2];
  int contrast, brightness, mean;

  // A number of the curve: how much of an edge `distance` before it is covered, of 2¹⁵.
  __device__ __forceinline__ int covered(const int* curve, int distance) const {
    const int step = (min(max(distance, -32768), 32768) * sharpness + 32768) >> 16;
    return curve[min(max(step, -MIDDLE), MIDDLE) + MIDDLE];
  }

  // How much of the pixel at (y, x) it covers, of 2¹⁶.
  __device__ __forceinline__ int coverage(const int* tables, int y, int x) const {
    const int dy = 256 * y + 128 - centre[0], dx = 256 * x + 128 - centre[1];
    if (abs(dy) > reach[0] || abs(dx) > reach[1]) return 0;
    const int u = static_cast<int>((static_cast<long long>(cosine) * dx + static_cast<long long>(sine) * dy) >> 14);
    const int v = static_cast<int>((static_cast<long long>(cosine) * dy - static_cast<long long>(sine) * dx) >> 14);
    const int* curve = tables + CURVE_AT;
    const int on_length = covered(curve, along - u) + covered(curve, along + u) - 32768;
    const int on_width = covered(curve, across - v) + covered(curve, across + v) - 32768;
    return (on_length * on_width + 8192) >> 14;
  }

  // The pixel of the source that is pasted at (y, x).
  __device__ __forceinline__ int source(int side, int y, int x) const {
    y += roll[0];
    x += roll[1];
    if (y >= side) y -= side;
    if (x >= side) x -= side;
    if (flips_rows) y = side - 1 - y;
    if (flips_columns) x = side - 1 - x;
    return transposes ? x * side + y : y * side + x;
  }

  // A byte of the source in the patch's contrast and brightness.
  __device__ __forceinline__ int shaded(int value) const {
    return clamp_byte(mean + ((contrast * (value - mean) + 128) >> 8) + brightness);
  }
};

// Half of a length along an axis that a rectangle turned by (sine, cosine) takes.
__device__ __forceinline__ int extent(int cosine, int sine, int along, int across) {
  return static_cast<int>((static_cast<long long>(abs(cosine)) * along + static_cast<long long>(abs(sine)) * across) >> 14);
}

// The patch of a stream with this number, whose source is one of two images of side² · channels bytes.
__device__ __forceinline__ Patch draw_patch(const Stream& stream, int number, const int* tables, int side, int channels,
                                            const unsigned char* normal, const unsigned char* other) {
  const unsigned first = PER_PATCH / 4 * (number + 1);
  const Words4 form = stream.block(first), place = stream.block(first + 1), look = stream.block(first + 2);
  const unsigned choices = form.word[0];
  Patch patch;
  patch.from_other = choices >> 30 & 1;
  patch.flips_rows = choices >> 29 & 1;
  patch.flips_columns = choices >> 28 & 1;
  patch.transposes = choices >> 27 & 1;
  const unsigned size = scaled(form.word[1], ENTRIES), shape = scaled(form.word[2], ENTRIES);
  if (choices >> 31) {
    patch.along = tables[LENGTHS_AT + size];
    patch.across = tables[WIDTHS_AT + shape];
  } else {
    const int root = tables[BLOCKS_AT + size];
    patch.along = max(root * tables[ASPECTS_AT + shape] >> 12, 128);
    patch.across = max(root * tables[ASPECTS_AT + ENTRIES - 1 - shape] >> 12, 128);
  }
  const Floats2 turned = sin_cos_turns(form.word[3] >> 1);
  patch.sine = static_cast<int>(turned.first * 16384.0f);
  patch.cosine = static_cast<int>(turned.second * 16384.0f);
  const int extents[2] = {extent(patch.sine, patch.cosine, patch.along, patch.across),
                          extent(patch.cosine, patch.sine, patch.along, patch.across)};
#pragma unroll
  for (int axis = 0; axis < 2; ++axis) {
    const int room = 256 * side - 2 * extents[axis];
    patch.centre[axis] = room > 0 ? extents[axis] + static_cast<int>(scaled(place.word[axis], room + 1)) : 128 * side;
    patch.reach[axis] = extents[axis] + MARGIN;
    patch.roll[axis] = static_cast<int>(scaled(place.word[2 + axis], side));
  }
  patch.contrast = 180 + static_cast<int>(scaled(look.word[0], 153));
  patch.brightness = static_cast<int>(scaled(look.word[1], 51)) - 25;
  patch.sharpness = tables[SHARPNESSES_AT + scaled(look.word[2], ENTRIES)];
  // The mean of 4 × 4 points of what is pasted.
  const unsigned char* from = patch.from_other ? other : normal;
  int sum = 0;
  for (int point = 0; point < 16; ++point) {
    const int u = patch.along * (2 * (point / 4) - 3) >> 2, v = patch.across * (2 * (point % 4) - 3) >> 2;
    const int dy = static_cast<int>((static_cast<long long>(patch.sine) * u + static_cast<long long>(patch.cosine) * v) >> 14);
    const int dx = static_cast<int>((static_cast<long long>(patch.cosine) * u - static_cast<long long>(patch.sine) * v) >> 14);
    const int y = min(max((patch.centre[0] + dy) >> 8, 0), side - 1), x = min(max((patch.centre[1] + dx) >> 8, 0), side - 1);
    const unsigned char* pixel = from + static_cast<size_t>(patch.source(side, y, x)) * channels;
    for (int c = 0; c < channels; ++c) sum += pixel[c];
  }
  patch.mean = (sum + 8 * channels) / (16 * channels);
  return patch;
}

struct CutPasteParameters {
  Draw draw;
  const unsigned char *normals, *others;
  const int* tables;
  short* noise;
  unsigned count;
  int side, channels;
};

// A block draws the patches of its image into shared memory, one per thread; then each thread pastes all of them, one after the other, into
// pixels. A pixel's noise says which bytes take its place, or is 0 where none changes by more than UNSEEN levels. `count`: normal images; with
// 0, `normals` and `others` hold the sample's own image and another good one for each image of the batch.
//
// Launch: grid (images, parts of an image) of any shape, 256 threads. Shared memory, static: 180 bytes. Bound: 1 byte read and 2 written
// per value; in patches (about 5 % of the pixels each) another byte read per value, and 40 integer operations per pixel and patch.
static __device__ __forceinline__ void paste(const CutPasteParameters& given) {
  kernels_before();
  __shared__ Patch patches[MOST_PATCHES];
  const Sample sample = drawn(given.draw, blockIdx.x);
  if (!sample.anomalous) return;
  const Stream stream = sample.stream(Purpose::ANOMALY);
  const size_t len = static_cast<size_t>(given.side) * given.side * given.channels;
  const unsigned char* normal = given.normals + (given.count ? sample.image(given.count) : blockIdx.x) * len;
  const unsigned char* other =
      given.count ? given.normals + sample.another(given.count) * len : given.others + blockIdx.x * len;
  const int count = 1 + static_cast<int>(stream.below(0, MOST_PATCHES));
  if (threadIdx.x < static_cast<unsigned>(count)) {
    patches[threadIdx.x] = draw_patch(stream, threadIdx.x, given.tables, given.side, given.channels, normal, other);
  }
  __syncthreads();
  short* noise = given.noise + blockIdx.x * len;
  for (int p = blockIdx.y * blockDim.x + threadIdx.x; p < given.side * given.side; p += gridDim.y * blockDim.x) {
    const int y = p / given.side, x = p % given.side;
    const size_t at = static_cast<size_t>(p) * given.channels;
    int before[3], after[3];
#pragma unroll
    for (int c = 0; c < 3; ++c) before[c] = after[c] = c < given.channels ? normal[at + c] : 0;
    for (int b = 0; b < count; ++b) {
      const Patch& patch = patches[b];
      const int coverage = patch.coverage(given.tables, y, x);
      if (coverage == 0) continue;
      const unsigned char* from =
          (patch.from_other ? other : normal) + static_cast<size_t>(patch.source(given.side, y, x)) * given.channels;
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        if (c < given.channels) after[c] += (coverage * (patch.shaded(from[c]) - after[c]) + 32768) >> 16;
      }
    }
    const bool seen = max(max(abs(after[0] - before[0]), abs(after[1] - before[1])), abs(after[2] - before[2])) > UNSEEN;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      if (c < given.channels) noise[at + c] = static_cast<short>(seen ? REPLACED + after[c] : 0);
    }
  }
}
KERNEL(cutpaste_patches, CutPasteParameters, (256), paste)
