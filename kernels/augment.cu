// From raw bytes to inputs of the net: the anomaly, the transforms and the ground truth of a batch in one kernel.
#include "colour.cuh"
#include "source.cuh"
#include "transforms.cuh"

// Raw images and where inputs, labels and maps go; see augment_batch below.
struct AugmentParameters {
  const unsigned char *normal, *others, *masks;
  const short* noise;
  Draw draw;
  Lots labelled;  // of the anomalies, those that are labelled ones
  int bounded;    // whether the masks, which are staged then, say what is outside of each image
  const int* program;
  const float* numbers;
  float *inputs, *labels, *maps;
  unsigned count, other_count;
  int steps, raw_side, widest, channels;
};

namespace {

constexpr int THREADS = 640;
constexpr int MOST_CHANGES = 4 * MOST_TRANSFORMS;

// A block's shared memory.
struct Shared {
  GroundTruth ground;
  Transform steps[MOST_TRANSFORMS];
  Change changes[MOST_CHANGES];   // changes of colour by the transforms so far
  unsigned long long totals[2];
  unsigned histogram[256];
  float table[3][256];            // per channel, the float of each byte after the steps that need that byte alone
  unsigned char inside[256];      // each raw byte after the changes so far, as grey
  unsigned char outside[MOST_TRANSFORMS];  // the padding of each step (black) after the changes that followed it
};

// A raw image seen through the geometric transforms and those of bytes so far.
struct View {
  const Source& source;
  Shared& shared;
  const short* rows;
  const short* columns;
  int channels;
  int changes;       // how many
  bool mixed;        // whether one of them mixes the channels of a pixel
  int down, across;  // from a raw pixel to the next of `rows` and of `columns`: the raw side and 1 or, transposed, 1 and the raw side

  // The raw pixel that comes to a place.
  __device__ __forceinline__ int pixel(int row, int column) const { return row * down + column * across; }

  // Traces the transforms before number `count`, after which the image has this side. All threads of the block call it; complete after the
  // next barrier.
  __device__ __forceinline__ void trace(int count, int side, short* to, int widest, int raw_side) {
    const bool transposed = trace_all(shared.steps, count, side, to, to + widest);
    down = transposed ? 1 : raw_side;
    across = transposed ? raw_side : 1;
  }

  // The byte at a place; only where no change mixes channels.
  __device__ __forceinline__ int byte(const Place& place) const {
    const int row = rows[place.y], column = columns[place.x], padded = padded_by(row, column);
    if (padded >= 0) return shared.outside[padded];
    return shared.inside[source.byte(pixel(row, column) * channels + place.c)];
  }

  // A pixel of an image with three channels.
  __device__ __forceinline__ Colour colour(int y, int x) const {
    const int row = rows[y], column = columns[x], padded = padded_by(row, column);
    if (padded >= 0) return {shared.outside[padded], shared.outside[padded], shared.outside[padded]};
    const size_t at = pixel(row, column) * 3;
    Colour colour = {source.byte(at), source.byte(at + 1), source.byte(at + 2)};
    if (!mixed) return {shared.inside[colour.r], shared.inside[colour.g], shared.inside[colour.b]};
    for (int i = 0; i < changes; ++i) colour = shared.changes[i].of(colour);
    return colour;
  }

  __device__ __forceinline__ int brightness(const Place& pixel) const {
    return channels == 3 ? luma(colour(pixel.y, pixel.x)) : byte(pixel);
  }

  // Adds a change of colours, visible after the next barrier. It also applies to the padding of the transforms before number `at`, not
  // to that of later ones. All threads of the block call it.
  __device__ __forceinline__ void add(const Change& change, int at) {
    if (threadIdx.x == 0) shared.changes[changes] = change;
    for (int v = threadIdx.x; v < 256; v += blockDim.x) {
      shared.inside[v] = static_cast<unsigned char>(change.of_grey(shared.inside[v]));
    }
    for (int s = threadIdx.x; s < at; s += blockDim.x) {
      shared.outside[s] = static_cast<unsigned char>(change.of_grey(shared.outside[s]));
    }
    ++changes;
    mixed |= change.mixes();
  }

  __device__ __forceinline__ float mark(int y, int x) const {
    const int row = rows[y], column = columns[x];
    return padded_by(row, column) >= 0 ? 0.0f : source.mark(shared.ground, pixel(row, column), channels);
  }
};

// The raw image of a sample and its ground truth. With a `count` of 0, `normal` and `others` hold one staged image for each image of the
// batch; otherwise they are whole sets to pick from. With OFFLINE (anomalies made before training) a pass goes through the `count` normal
// images, then through the anomalies, so that the image decides whether the sample is anomalous.
__device__ __forceinline__ Source source_of(Sample& sample, GroundTruth& ground, const AugmentParameters& given) {
  const size_t pixels = static_cast<size_t>(given.raw_side) * given.raw_side, len = pixels * given.channels;
  const Supervision supervise = given.draw.supervise;
  unsigned image = given.count ? sample.number % (supervise == Supervision::OFFLINE ? 2 * given.count : given.count) : blockIdx.x;
  if (supervise == Supervision::OFFLINE) {
    sample.anomalous = image >= given.count;
    if (sample.anomalous) image -= given.count;
  }
  Source source = {given.normal + image * len, nullptr, 1};
  ground = {given.bounded ? given.masks + blockIdx.x * pixels : nullptr, Truth::EVERYWHERE, sample.anomalous ? 1.0f : 0.0f};
  if (!sample.anomalous) return source;
  const bool labelled = sample.is_of(given.labelled);
  if (labelled || supervise == Supervision::OFFLINE) {
    const unsigned pick = labelled && given.count ? sample.pick(given.other_count) : image;
    source.image = given.others + pick * len;
    if (given.masks) {
      ground = {given.masks + pick * pixels, Truth::MASK, 0.0f};
    }
  } else {
    source.noise = given.noise + blockIdx.x * len;
    source.sign = supervise == Supervision::NOISE ? 0 : 1;
    if (supervise == Supervision::MALFORMED_NORMAL_GT) ground.truth = Truth::CHANGES;
  }
  return source;
}

// Mean brightness of an image of side² pixels, rounded half up: `jitter::mean_luma`.
__device__ __forceinline__ int mean_brightness(Shared& shared, const View& view, int side) {
  __syncthreads();  // changes are visible, and nobody reads the previous total any more
  if (threadIdx.x == 0) shared.totals[0] = 0;
  __syncthreads();
  long long sum = 0;
  const int pixels = side * side;
  for (int p = threadIdx.x; p < pixels; p += blockDim.x) sum += view.brightness(Place(p, side, 1));
  block_add(sum, shared.totals);
  __syncthreads();
  const unsigned long long n = static_cast<unsigned long long>(pixels);
  return static_cast<int>((2 * shared.totals[0] + n) / (2 * n));
}

// Adds the changes of a jitter that is transform number `at`: `jitter::jitter`. Reads the image once for its mean brightness.
__device__ __forceinline__ void jitter(Shared& shared, View& view, int at, const Jitter& drawn) {
  for (unsigned order = drawn.order, k = 0; k < 4; ++k, order >>= 4) {
    const int kind = static_cast<int>(order & 15);
    if (kind == CHANGE_BRIGHTNESS) {
      view.add({kind, 0, drawn.bright}, at);
    } else if (kind == CHANGE_CONTRAST) {
      view.add({kind, mean_brightness(shared, view, shared.steps[at].before), drawn.steep}, at);
    } else if (kind == CHANGE_SATURATION && drawn.saturates) {
      view.add({kind, 0, drawn.vivid}, at);
    } else if (kind == CHANGE_HUE && drawn.turns) {
      view.add({kind, drawn.turn, 0.0f}, at);
    }
  }
  __syncthreads();
}

// Histogram of the n bytes `byte_at(i, place)`, each of which is computed once; complete on return.
template <class ByteAt>
__device__ __forceinline__ void count_bytes(Shared& shared, int n, int side, int channels, const ByteAt& byte_at) {
  for (int v = threadIdx.x; v < 256; v += blockDim.x) shared.histogram[v] = 0;
  if (threadIdx.x < 2) shared.totals[threadIdx.x] = 0;
  __syncthreads();
  for (int group = threadIdx.x; 4 * group < n; group += blockDim.x) {
    Place place(4 * group, side, channels);
    for (int i = 4 * group; i < min(4 * group + 4, n); ++i) {
      atomicAdd(&shared.histogram[byte_at(i, place)], 1u);
      place.advance(side, channels);
    }
  }
  __syncthreads();
}

// Σ of(v) over the counted bytes v, returned to every thread. `*total` must be 0.
template <class Of>
__device__ __forceinline__ long long sum_of_bytes(Shared& shared, unsigned long long* total, const Of& of) {
  long long sum = 0;
  for (int v = threadIdx.x; v < 256; v += blockDim.x) sum += static_cast<long long>(shared.histogram[v]) * of(v);
  block_add(sum, total);
  __syncthreads();
  return static_cast<long long>(*total);
}

// Contrast of the counted bytes: `Histogram::lcn_table`.
__device__ __forceinline__ Contrast contrast(Shared& shared, long long n) {
  const long long sum = sum_of_bytes(shared, &shared.totals[0], [](int v) { return static_cast<long long>(v); });
  const long long spread = sum_of_bytes(shared, &shared.totals[1], [=](int v) {
    const long long apart = n * v - sum;
    return apart < 0 ? -apart : apart;
  });
  return {n, sum, spread};
}

// Standard deviation of the counted bytes: `Histogram::deviation`.
__device__ __forceinline__ float deviation(Shared& shared, long long count) {
  if (count < 2) return 0.0f;
  const double n = static_cast<double>(count);
  const double sum = static_cast<double>(sum_of_bytes(shared, &shared.totals[0], [](int v) { return static_cast<long long>(v); }));
  const double squares =
      static_cast<double>(sum_of_bytes(shared, &shared.totals[1], [](int v) { return static_cast<long long>(v) * v; }));
  const double variance = (squares - sum * (sum / n)) / (n - 1.0);
  return static_cast<float>(sqrt(fmax(variance, 0.0)) / 255.0);
}

// Contrast of n floats that the block has written: `contrast::lcn`.
__device__ __forceinline__ FloatContrast float_contrast(Shared& shared, const float* values, int n) {
  __syncthreads();  // the values are visible, and nobody reads the previous totals any more
  if (threadIdx.x < 2) shared.totals[threadIdx.x] = 0;
  __syncthreads();
  long long sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += FloatContrast::fixed(values[i]);
  block_add(sum, &shared.totals[0]);
  __syncthreads();
  const long long mean = static_cast<long long>(shared.totals[0]) / n;
  long long spread = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    const long long apart = FloatContrast::fixed(values[i]) - mean;
    spread += apart < 0 ? -apart : apart;
  }
  block_add(spread, &shared.totals[1]);
  __syncthreads();
  spread = static_cast<long long>(shared.totals[1]);
  return {mean, spread == 0 ? 0.0f : static_cast<float>(n) / static_cast<float>(spread)};
}

// The first step in from..steps for which `is(op)` holds; `steps` if there is none.
template <class Is>
__device__ __forceinline__ int find(const Shared& shared, int from, int steps, const Is& is) {
  while (from < steps && !is(shared.steps[from].op)) ++from;
  return from;
}

// The transforms of floats. A thread computes four neighbouring values at a time, which share one Philox block.
struct Floats {
  const Shared& shared;
  const float* __restrict__ numbers;
  const Stream& speckle;
  float* input;  // of the net, written here
  int n, side, channels;
  float spread;

  // Writes `first(i, place)` after the steps from..to; `first` may read value i of `input`.
  template <class First>
  __device__ __forceinline__ void write(int from, int to, const First& first) const {
    const bool noisy = find(shared, from, to, [](Op op) { return op == Op::NOISE || op == Op::SPREAD_NOISE; }) < to;
    for (int group = threadIdx.x; 4 * group < n; group += blockDim.x) {
      Floats4 normals = {{0.0f, 0.0f, 0.0f, 0.0f}};
      if (noisy) normals = speckle.normals(static_cast<unsigned>(group));
      float values[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      Place place(4 * group, side, channels);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (4 * group + k >= n) break;
        values[k] = first(4 * group + k, place);
        for (int f = from; f < to; ++f) {
          values[k] = apply(shared.steps[f].op, numbers + f * FLOATS_PER_TRANSFORM, place, side, values[k], normals.value[k], spread);
        }
        place.advance(side, channels);
      }
      if (n % 4 == 0) {
        reinterpret_cast<float4*>(input)[group] = make_float4(values[0], values[1], values[2], values[3]);
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          if (4 * group + k < n) input[4 * group + k] = values[k];
        }
      }
    }
  }
};

}  // namespace

// Makes inputs (side² · channels floats per image, NHWC), labels (1 for anomalies, else 0) and, where `maps` is not null, maps
// (side² floats): `TrainingSet::fill`. `count`: normal images, 0 where one was staged for each image of the batch. With `order` null,
// the inputs are those of the raw images at `normal` in their order, as in a test (`Preprocessing::apply_test`); there are no labels.
//
// Launch: one block per image, of whole warps, at most 640 threads: with more, registers would spill. Shared memory: about 7 KB, static,
// and dynamic two `short` for each row of the largest side between transforms. Bound: memory; per value about 4 bytes written, and 1 byte
// (3 with noise) read up to four times (sign of the noise, jitter, LCN, output), from L2 after the first time. A transform that adds noise
// costs about 60 flops per value (Philox and Box–Muller), a change of hue about 100 flops, a dozen of them in double, per pixel and
// reading of the image. LCN of floats reads the written values three times and writes them once more.
static __device__ __forceinline__ void augment(const AugmentParameters& given) {
  kernels_before();
  DYN_SHARED(short, rows);
  __shared__ Shared shared;
  Sample sample = given.draw.order ? drawn(given.draw, blockIdx.x)
                        : Sample{0, 0, blockIdx.x, 0, false};
  const Stream random = sample.stream(Purpose::AUGMENT);
  GroundTruth ground;
  Source source = source_of(sample, ground, given);
  if (threadIdx.x == 0) shared.ground = ground;
  if (source.noise && source.sign != 0) {
    settle_sign(source, static_cast<size_t>(given.raw_side) * given.raw_side * given.channels, shared.totals);
  }
  View view = {source, shared, rows, rows + given.widest, given.channels, 0, false, given.raw_side, 1};

  for (int v = threadIdx.x; v < 256; v += blockDim.x) shared.inside[v] = static_cast<unsigned char>(v);
  for (int s = threadIdx.x; s < MOST_TRANSFORMS; s += blockDim.x) shared.outside[s] = 0;
  for (int s = threadIdx.x; s < given.steps; s += blockDim.x) {
    shared.steps[s] = read_transform(given.program + s * INTS_PER_TRANSFORM, random);
  }
  __syncthreads();

  // Transforms of bytes: geometry is composed, each jitter reads the image as transformed so far.
  int s = 0;
  for (; shared.steps[s].op != Op::TO_UNIT && shared.steps[s].op != Op::LCN; ++s) {
    if (shared.steps[s].op != Op::JITTER) continue;
    view.trace(s, shared.steps[s].before, rows, given.widest, given.raw_side);
    __syncthreads();
    const unsigned draw = static_cast<unsigned>(given.program[s * INTS_PER_TRANSFORM + 4]);
    jitter(shared, view, s, Jitter(given.numbers + s * FLOATS_PER_TRANSFORM, random, draw, given.channels));
  }
  const int side = shared.steps[s].before;
  view.trace(s, side, rows, given.widest, given.raw_side);
  __syncthreads();

  // Where channels are mixed, each pixel is computed once and kept in the output buffer until the floats replace it.
  const int len = side * side * given.channels;
  float* input = given.inputs + static_cast<size_t>(blockIdx.x) * len;
  if (view.mixed) {
    for (int p = threadIdx.x; p < side * side; p += blockDim.x) {
      const Colour colour = view.colour(p / side, p % side);
      input[3 * p] = static_cast<float>(colour.r);
      input[3 * p + 1] = static_cast<float>(colour.g);
      input[3 * p + 2] = static_cast<float>(colour.b);
    }
    __syncthreads();
  }
  const auto byte_at = [&](int i, const Place& place) {
    return view.mixed ? static_cast<int>(input[i]) : view.byte(place);
  };

  // Bytes to floats: a table holds everything that depends on the byte and the channel alone.
  const bool is_lcn = shared.steps[s].op == Op::LCN;
  Contrast of_image = {0, 0, 0};
  float spread = 0.0f;
  if (is_lcn) {
    count_bytes(shared, len, side, given.channels, byte_at);
    of_image = contrast(shared, len);
  } else if (s + 1 < given.steps && shared.steps[s + 1].op == Op::SPREAD_NOISE) {
    if (random.coin(static_cast<unsigned>(given.program[(s + 1) * INTS_PER_TRANSFORM + 4]))) {
      count_bytes(shared, len, side, given.channels, byte_at);
      spread = given.numbers[(s + 1) * FLOATS_PER_TRANSFORM] * deviation(shared, len);
    }
  }
  const int rest = find(shared, s + 1, given.steps, [](Op op) {
    return op == Op::NOISE || op == Op::SPREAD_NOISE || op == Op::BLACK_OUT || op == Op::LCN;
  });
  for (int v = threadIdx.x; v < 256; v += blockDim.x) {
    for (int c = 0; c < given.channels; ++c) {
      Place place(0, 1, 1);
      place.c = c;
      float value = is_lcn ? of_image.normalised(v) : static_cast<float>(v) / 255.0f;
      for (int f = s + 1; f < rest; ++f) {
        value = apply(shared.steps[f].op, given.numbers + f * FLOATS_PER_TRANSFORM, place, side, value, 0.0f, 0.0f);
      }
      shared.table[c][v] = value;
    }
  }
  __syncthreads();

  const Stream speckle = sample.stream(Purpose::AUGMENT_NOISE);
  const Floats floats = {shared, given.numbers, speckle, input, len, side, given.channels, spread};
  FloatContrast whole = {0, 0.0f};
  for (int from = rest;;) {
    const int until = find(shared, from, given.steps, [](Op op) { return op == Op::LCN; });
    floats.write(from, until, [&](int i, const Place& place) {
      return from == rest ? shared.table[place.c][byte_at(i, place)] : whole.normalised(input[i]);
    });
    if (until == given.steps) break;
    whole = float_contrast(shared, input, len);
    from = until + 1;
  }
  if (given.labels && threadIdx.x == 0) given.labels[blockIdx.x] = sample.anomalous ? 1.0f : 0.0f;
  if (given.maps) {
    float* map = given.maps + static_cast<size_t>(blockIdx.x) * side * side;
    for (int p = threadIdx.x; p < side * side; p += blockDim.x) map[p] = view.mark(p / side, p % side);
  }
}
KERNEL(augment_batch, AugmentParameters, (THREADS), augment)
