// Noise of rectangles at random places: `src/data/anomaly/{blobs,fine_confetti}.rs`.
//
// A block draws the rectangles of its image into shared memory, one per thread; then each thread colours pixels by the last rectangle
// that covers them. The noise of images that do not become anomalies is left as it is.
#include "sample.cuh"

// One rectangle. A pixel belongs to it if its offset from the centre, rotated back, is less than half a side along both axes.
struct Blob {
  float row, column, along, across, sine, cosine;
  short colour[3];

  __device__ __forceinline__ bool covers(int y, int x) const {
    const float dy = static_cast<float>(y) - row;
    const float dx = static_cast<float>(x) - column;
    const float u = cosine * dx + sine * dy;
    const float v = cosine * dy - sine * dx;
    return -along <= u && u < along && -across <= v && v < across;
  }
};

enum class ColourKind { CONSTANT, BRIGHT, DARK };

// One set of squares as a row of integers: `BlobSet::row`.
constexpr int SET_ROW = 8;
struct BlobSet {
  unsigned first;                // the first number of the stream that it uses
  unsigned counts_start, counts; // where its distribution function of counts starts in the tables, and its length
  unsigned smallest, largest;
  bool rotated;
  ColourKind kind;
  short constant;

  __device__ __forceinline__ BlobSet(const unsigned* __restrict__ row)
      : first(row[0]),
        counts_start(row[1]),
        counts(row[2]),
        smallest(row[3]),
        largest(row[4]),
        rotated(row[5] != 0),
        kind(static_cast<ColourKind>(row[6])),
        constant(static_cast<short>(row[7])) {}
};

// Random numbers per square.
constexpr unsigned PER_SQUARE = 8;

__device__ __forceinline__ Blob draw_square(const BlobSet& set, const Stream& stream, unsigned b, unsigned side) {
  // Numbers index … index + 7 are two Philox blocks: row, column, side, angle; then one number per channel.
  const unsigned index = set.first + PER_SQUARE * (b + 1);
  const Words4 place = stream.block(index / 4);
  const Words4 bright = stream.block(index / 4 + 1);
  const unsigned edge = set.smallest + scaled(place.word[2], set.largest - set.smallest + 1);
  const unsigned turn = set.rotated ? static_cast<unsigned>(static_cast<int>(place.word[3]) >> 2) : 0u;
  const Floats2 turned = sin_cos_turns(turn);
  Blob blob;
  blob.row = static_cast<float>(scaled(place.word[0], side));
  blob.column = static_cast<float>(scaled(place.word[1], side));
  blob.along = blob.across = static_cast<float>(edge) * 0.5f;
  blob.sine = turned.first;
  blob.cosine = turned.second;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const int random = static_cast<int>(bright.word[c] >> 24);
    blob.colour[c] = static_cast<short>(
        set.kind == ColourKind::CONSTANT ? set.constant : set.kind == ColourKind::BRIGHT ? random : random - 256);
  }
  return blob;
}

// The topmost of `count` rectangles at a pixel, or none.
__device__ __forceinline__ const Blob* topmost(const Blob* blobs, int count, int y, int x) {
  for (int b = count - 1; b >= 0; --b) {
    if (blobs[b].covers(y, x)) return blobs + b;
  }
  return nullptr;
}

// The most sets of a mode.
constexpr int MOST_SETS = 2;

struct SquaresParameters {
  Draw draw;
  const unsigned* tables;
  short* noise;
  int sets, side, channels;
};

// Sets of squares: within a set later squares cover earlier ones; the sets are added. `tables` holds `sets` rows of integers, then
// their distribution functions.
//
// Launch: grid (images, parts of an image) of any shape, 256 threads. Shared memory, dynamic: a `Blob` for each square that the sets can
// have. Bound: 2 bytes written per value, or 12 flops per pixel and square.
static __device__ __forceinline__ void squares(const SquaresParameters& given) {
  kernels_before();
  DYN_SHARED(Blob, blobs);
  const Sample sample = drawn(given.draw, blockIdx.x);
  if (!sample.anomalous) return;
  const Stream stream = sample.stream(Purpose::ANOMALY);
  int starts[MOST_SETS + 1] = {0, 0, 0};
#pragma unroll
  for (int s = 0; s < MOST_SETS; ++s) {
    starts[s + 1] = starts[s];
    if (s >= given.sets) continue;
    const BlobSet set(given.tables + s * SET_ROW);
    // The inverse of the distribution function at one uniform number; at least one.
    const unsigned uniform = stream.bits(set.first);
    unsigned count = 0;
    while (count < set.counts && uniform >= given.tables[set.counts_start + count]) ++count;
    if (count == 0) count = 1;
    for (unsigned b = threadIdx.x; b < count; b += blockDim.x) {
      blobs[starts[s] + b] = draw_square(set, stream, b, static_cast<unsigned>(given.side));
    }
    starts[s + 1] += static_cast<int>(count);
  }
  __syncthreads();
  short* noise = given.noise + static_cast<size_t>(blockIdx.x) * given.side * given.side * given.channels;
  for (int p = blockIdx.y * blockDim.x + threadIdx.x; p < given.side * given.side; p += gridDim.y * blockDim.x) {
    const int y = p / given.side, x = p % given.side;
    int value[3] = {0, 0, 0};
#pragma unroll
    for (int s = 0; s < MOST_SETS; ++s) {
      if (const Blob* blob = topmost(blobs + starts[s], starts[s + 1] - starts[s], y, x)) {
        for (int c = 0; c < 3; ++c) value[c] += blob->colour[c];
      }
    }
    for (int c = 0; c < given.channels; ++c) noise[static_cast<size_t>(p) * given.channels + c] = static_cast<short>(value[c]);
  }
}
KERNEL(blobs_squares, SquaresParameters, (256), squares)

// Constants of fine confetti, as in `fine_confetti.rs`.
constexpr int MOST_STRIPS = 6;
constexpr unsigned ENTRIES = 64;
constexpr unsigned PER_STRIP = 10;

struct StripsParameters {
  Draw draw;
  const float* halves;
  const int* strengths;
  short* noise;
  int side, channels;
};

// Rectangles of fine confetti. `halves` and `strengths` are the tables of log-uniform half sides and strengths.
//
// Launch: grid (images, parts of an image) of any shape, 256 threads. Shared memory, static: 192 bytes. Bound: 2 bytes written
// per value, or 12 flops per pixel and rectangle.
static __device__ __forceinline__ void strips(const StripsParameters& given) {
  kernels_before();
  __shared__ Blob blobs[MOST_STRIPS];
  const Sample sample = drawn(given.draw, blockIdx.x);
  if (!sample.anomalous) return;
  const Stream stream = sample.stream(Purpose::ANOMALY);
  const int count = 1 + static_cast<int>(stream.below(0, MOST_STRIPS));
  for (int b = threadIdx.x; b < count; b += blockDim.x) {
    const unsigned index = 2 + PER_STRIP * b;
    const int strength = given.strengths[stream.below(1, ENTRIES)];
    const Floats2 turned = sin_cos_turns(stream.bits(index + 4));
    const int sign = stream.coin(index + 5) ? 1 : -1;
    const int brightness = 128 + static_cast<int>(stream.below(index + 6, 128));
    Blob blob;
    blob.row = static_cast<float>(stream.below(index, given.side));
    blob.column = static_cast<float>(stream.below(index + 1, given.side));
    blob.along = given.halves[stream.below(index + 2, ENTRIES)];
    blob.across = given.halves[stream.below(index + 3, ENTRIES)];
    blob.sine = turned.first;
    blob.cosine = turned.second;
    for (int c = 0; c < 3; ++c) {
      const int kept = 192 + static_cast<int>(stream.below(index + 7 + c, 65));
      blob.colour[c] = static_cast<short>(sign * max(brightness * kept * strength >> 16, 1));
    }
    blobs[b] = blob;
  }
  __syncthreads();
  short* noise = given.noise + static_cast<size_t>(blockIdx.x) * given.side * given.side * given.channels;
  for (int p = blockIdx.y * blockDim.x + threadIdx.x; p < given.side * given.side; p += gridDim.y * blockDim.x) {
    const Blob* blob = topmost(blobs, count, p / given.side, p % given.side);
    for (int c = 0; c < given.channels; ++c) {
      noise[static_cast<size_t>(p) * given.channels + c] = blob ? blob->colour[c] : static_cast<short>(0);
    }
  }
}
KERNEL(blobs_strips, StripsParameters, (256), strips)
