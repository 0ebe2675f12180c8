// From raw bytes to inputs of the net: the anomaly, the transforms and the ground truth of a batch in one kernel.
#include "source.cuh"
#include "transforms.cuh"

namespace {

// What a block knows of its image.
struct Shared {
  Step steps[MOST_STEPS];
  unsigned long long totals[2];
  unsigned histogram[256];
  float table[3][256];            // what a byte becomes, per channel, up to the first noise
  unsigned char inside[256];      // what the transforms of bytes so far make of a raw byte
  unsigned char outside[MOST_STEPS];  // and of the black that a step padded with
};

// A raw image seen through the geometric transforms and those of bytes so far.
struct View {
  const Source& source;
  const Shared& shared;
  const short* rows;
  const short* columns;
  int raw_side, channels;

  __device__ __forceinline__ int byte(const Place& place) const {
    const int row = rows[place.y], column = columns[place.x], padded = padded_by(row, column);
    if (padded >= 0) return shared.outside[padded];
    return shared.inside[source.byte((static_cast<size_t>(row) * raw_side + column) * channels + place.c)];
  }

  // Of the three channels or the one of a pixel.
  __device__ __forceinline__ int brightness(Place pixel) const {
    const int r = byte(pixel);
    if (channels != 3) return r;
    pixel.c = 1;
    const int g = byte(pixel);
    pixel.c = 2;
    return luma(r, g, byte(pixel));
  }

  __device__ __forceinline__ float mark(int y, int x) const {
    const int row = rows[y], column = columns[x];
    return padded_by(row, column) >= 0 ? 0.0f : source.mark(static_cast<size_t>(row) * raw_side + column, channels);
  }
};

// The raw image of the sample and its ground truth. A `count` of 0 says that there is a nominal image, and another, for each image of
// the batch, instead of sets to pick from.
__device__ __forceinline__ Source
source_of(const Sample& sample, const unsigned char* __restrict__ nominal, unsigned count, const unsigned char* __restrict__ others,
          const unsigned char* __restrict__ masks, unsigned other_count, const short* __restrict__ noise, int supervise,
          int raw_side, int channels) {
  const size_t pixels = static_cast<size_t>(raw_side) * raw_side, len = pixels * channels;
  const unsigned picture = count ? sample.number : blockIdx.x;
  Source source = {nominal + picture * len, nullptr, nullptr, NOISE_NONE, 1, false, sample.anomalous ? 1.0f : 0.0f};
  if (!sample.anomalous) return source;
  if (supervise == OTHER) {
    const unsigned pick = count ? sample.pick(other_count) : blockIdx.x;
    source.image = others + pick * len;
    source.mask = masks ? masks + pick * pixels : nullptr;
  } else {
    source.noise = noise + blockIdx.x * len;
    source.use = supervise == NOISE ? NOISE_REPLACES : NOISE_ADDS;
    source.marks_changes = supervise == MALFORMED_NORMAL_GT;
  }
  return source;
}

// Brightness and contrast by random factors, in random order, as transform number `at`: `jitter::jitter`. Reads the image once for its
// mean brightness. What transforms before it padded with changes too; what later ones pad with does not.
__device__ __forceinline__ void jitter(Shared& shared, const View& view, int at, const float* __restrict__ amounts, const Stream& random,
                                       unsigned draw) {
  const int side = shared.steps[at].before;
  const bool brightness_first = random.coin(draw);
  const float bright = random.range(draw + 1, fmaxf(1.0f - amounts[0], 0.0f), 1.0f + amounts[0]);
  const float steep = random.range(draw + 2, fmaxf(1.0f - amounts[1], 0.0f), 1.0f + amounts[1]);
  const auto brighten = [&](bool now) {
    if (!now) return;
    for (int v = threadIdx.x; v < 256; v += blockDim.x) shared.inside[v] = blend(shared.inside[v], 0, bright);
    for (int s = threadIdx.x; s < at; s += blockDim.x) shared.outside[s] = blend(shared.outside[s], 0, bright);
  };
  brighten(brightness_first);
  if (threadIdx.x == 0) shared.totals[0] = 0;
  __syncthreads();
  long long sum = 0;
  const int pixels = side * side;
  for (int p = threadIdx.x; p < pixels; p += blockDim.x) sum += view.brightness(Place(p, side, 1));
  block_add(sum, shared.totals);
  __syncthreads();
  const unsigned long long n = static_cast<unsigned long long>(pixels);
  const int grey = static_cast<int>((2 * shared.totals[0] + n) / (2 * n));
  for (int v = threadIdx.x; v < 256; v += blockDim.x) shared.inside[v] = blend(shared.inside[v], grey, steep);
  for (int s = threadIdx.x; s < at; s += blockDim.x) shared.outside[s] = blend(shared.outside[s], grey, steep);
  brighten(!brightness_first);
  __syncthreads();
}

// That of the image as seen, from how often each byte occurs: `interpret::lcn_table`.
__device__ __forceinline__ Contrast contrast(Shared& shared, const View& view, int side) {
  for (int v = threadIdx.x; v < 256; v += blockDim.x) shared.histogram[v] = 0;
  if (threadIdx.x < 2) shared.totals[threadIdx.x] = 0;
  __syncthreads();
  const int len = side * side * view.channels;
  for (int group = threadIdx.x; 4 * group < len; group += blockDim.x) {
    Place place(4 * group, side, view.channels);
    for (int i = 4 * group; i < min(4 * group + 4, len); ++i) {
      atomicAdd(&shared.histogram[view.byte(place)], 1u);
      place.advance(side, view.channels);
    }
  }
  __syncthreads();
  long long sum = 0;
  for (int v = threadIdx.x; v < 256; v += blockDim.x) sum += static_cast<long long>(shared.histogram[v]) * v;
  block_add(sum, &shared.totals[0]);
  __syncthreads();
  sum = static_cast<long long>(shared.totals[0]);
  long long spread = 0;
  for (int v = threadIdx.x; v < 256; v += blockDim.x) {
    const long long apart = static_cast<long long>(len) * v - sum;
    spread += static_cast<long long>(shared.histogram[v]) * (apart < 0 ? -apart : apart);
  }
  block_add(spread, &shared.totals[1]);
  __syncthreads();
  return {len, sum, static_cast<long long>(shared.totals[1])};
}

}  // namespace

// Makes inputs (side² · channels floats per image, NHWC), labels (1 for anomalies, else 0) and, where `maps` is not null, maps
// (side² floats): `TrainingSet::fill`. `count`: nominal images, 0 where one was staged for each image of the batch. With `order` null it makes the inputs of the raw images themselves, from `nominal` on
// (`Preprocessing::apply_test`), and no labels.
//
// Launch: a block per image, of whole warps; 896 threads at most, which leaves registers enough for none to spill. Shared memory:
// about 6 KB, and dynamically two `short` for each row of the largest side on the way. Bound: memory; per value about 4 bytes
// written, and 1 byte (3 with noise) read up to four times (sign of the noise, jitter, LCN, output), from L2 after the first.
// Philox and Box–Muller, about 60 flops per value, where the list has noise.
extern "C" __global__ void __launch_bounds__(896) augment_batch(
    const unsigned char* __restrict__ nominal, unsigned count, const unsigned char* __restrict__ others,
    const unsigned char* __restrict__ masks, unsigned other_count, const short* __restrict__ noise,
    const unsigned* __restrict__ clock, const unsigned* __restrict__ order, unsigned stride, unsigned long long seed,
    int supervise, const int* __restrict__ program, const float* __restrict__ numbers, int steps, int raw_side, int widest,
    int channels, float* __restrict__ inputs, float* __restrict__ labels, float* __restrict__ maps) {
  DYN_SHARED(short, rows);
  __shared__ Shared shared;
  const Sample sample = order ? drawn(clock, order, stride, blockIdx.x, seed, supervise)
                              : Sample{0, 0, blockIdx.x, false};
  const Stream random = sample.stream(PURPOSE_AUGMENT);
  Source source =
      source_of(sample, nominal, count, others, masks, other_count, noise, supervise, raw_side, channels);
  if (source.use == NOISE_ADDS) {
    settle_sign(source, static_cast<size_t>(raw_side) * raw_side * channels, shared.totals);
  }
  const View view = {source, shared, rows, rows + widest, raw_side, channels};

  for (int v = threadIdx.x; v < 256; v += blockDim.x) shared.inside[v] = static_cast<unsigned char>(v);
  for (int s = threadIdx.x; s < MOST_STEPS; s += blockDim.x) shared.outside[s] = 0;
  for (int s = threadIdx.x; s < steps; s += blockDim.x) shared.steps[s] = read_step(program + s * INTS_PER_STEP, random);
  __syncthreads();

  // Bytes: geometry composes, jitter looks at the image as it is by then.
  int s = 0;
  for (; shared.steps[s].op != OP_TO_UNIT && shared.steps[s].op != OP_LCN; ++s) {
    if (shared.steps[s].op != OP_JITTER) continue;
    trace_all(shared.steps, s, shared.steps[s].before, rows, rows + widest);
    __syncthreads();
    jitter(shared, view, s, numbers + s * FLOATS_PER_STEP, random,
           static_cast<unsigned>(program[s * INTS_PER_STEP + 4]));
  }
  const int side = shared.steps[s].before;
  trace_all(shared.steps, s, side, rows, rows + widest);
  __syncthreads();

  // Bytes to floats: a table for all that does not depend on the place.
  const bool is_lcn = shared.steps[s].op == OP_LCN;
  const Contrast of_image = is_lcn ? contrast(shared, view, side) : Contrast{0, 0, 0};
  int rest = s + 1;
  while (rest < steps && shared.steps[rest].op != OP_NOISE) ++rest;
  const int len = side * side * channels;
  for (int v = threadIdx.x; v < 256; v += blockDim.x) {
    for (int c = 0; c < channels; ++c) {
      float value = is_lcn ? of_image.normalised(v) : static_cast<float>(v) / 255.0f;
      for (int f = s + 1; f < rest; ++f) value = apply(shared.steps[f].op, numbers + f * FLOATS_PER_STEP, c, value, 0.0f);
      shared.table[c][v] = value;
    }
  }
  __syncthreads();

  // Four values per thread and round: they share a block of random numbers.
  float* input = inputs + static_cast<size_t>(blockIdx.x) * len;
  const Stream speckle = sample.stream(PURPOSE_AUGMENT_NOISE);
  for (int group = threadIdx.x; 4 * group < len; group += blockDim.x) {
    Floats4 normals = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (rest < steps) normals = speckle.normals(static_cast<unsigned>(group));
    float values[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    Place place(4 * group, side, channels);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (4 * group + k >= len) break;
      values[k] = shared.table[place.c][view.byte(place)];
      for (int f = rest; f < steps; ++f) {
        values[k] = apply(shared.steps[f].op, numbers + f * FLOATS_PER_STEP, place.c, values[k], normals.value[k]);
      }
      place.advance(side, channels);
    }
    if (len % 4 == 0) {
      reinterpret_cast<float4*>(input)[group] = make_float4(values[0], values[1], values[2], values[3]);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (4 * group + k < len) input[4 * group + k] = values[k];
      }
    }
  }
  if (labels && threadIdx.x == 0) labels[blockIdx.x] = sample.anomalous ? 1.0f : 0.0f;
  if (maps) {
    float* map = maps + static_cast<size_t>(blockIdx.x) * side * side;
    for (int p = threadIdx.x; p < side * side; p += blockDim.x) map[p] = view.mark(p / side, p % side);
  }
}
