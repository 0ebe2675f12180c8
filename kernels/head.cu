// The head of an FCDD net in one pass: 1×1 convolution to one channel, anomaly map, score and loss; and its backward pass.
//
// z[p] = b + Σ_c x[p, c] · w[c]; a = z² / (√(z² + 1) + 1), which is √(z² + 1) − 1 without cancellation; the score of an image is the mean
// of a. With labels also the loss of each image and its gradient by z. x [n, pixels, c] holds f32 or bf16, all else is f32.
#include "fcdd_loss.cuh"
#include "reduce.cuh"
#include "vector.cuh"

constexpr int THREADS = 256;
// Pixels per partial sum of the backward pass.
constexpr int TILE = 256;

template <class T>
struct HeadParameters {
  const T* x;
  const float *weights, *bias;
  float *z, *a, *score;
  const float* labels;
  float *loss, *dz;
  int n, pixels, c, lanes;
};

template <class T>
struct HeadBackwardParameters {
  const T* x;
  const float *weights, *dz;
  T* dx;
  float* sums;
  int pixels, c, lanes;
};

template <class T, int V>
__device__ __forceinline__ void head(const HeadParameters<T>& given) {
  kernels_before();
  __shared__ float parts[32];
  const size_t image = (size_t)blockIdx.x * given.pixels;
  const int lane = threadIdx.x % given.lanes, row = threadIdx.x / given.lanes, rows = THREADS / given.lanes;
  float sum = 0.0f;
  // Threads without a pixel of their own take part too: the shuffles below need all lanes.
  for (int first = 0; first < given.pixels; first += rows) {
    const int pixel = first + row;
    float value = 0.0f;
    if (pixel < given.pixels) {
      const T* at = given.x + (image + pixel) * given.c;
      for (int channel = lane * V; channel < given.c; channel += given.lanes * V) {
        const Floats<V> values = load<V>(at + channel);
#pragma unroll
        for (int i = 0; i < V; i++) value = fmaf(values.v[i], given.weights[channel + i], value);
      }
    }
    for (int step = given.lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    if (pixel < given.pixels && lane == 0) {
      value += given.bias ? given.bias[0] : 0.0f;
      const float square = value * value, huber = square / (sqrtf(square + 1.0f) + 1.0f);
      given.z[image + pixel] = value;
      given.a[image + pixel] = huber;
      sum += huber;
    }
  }
  const float s = block_sum(sum, parts) / (float)given.pixels;
  if (threadIdx.x == 0) given.score[blockIdx.x] = s;
  if (!given.labels) return;
  // A batch in which all labels are equal trains as if all images were normal.
  float others = 0.0f;
  for (int i = threadIdx.x; i < given.n; i += THREADS) others += given.labels[i] != given.labels[0] ? 1.0f : 0.0f;
  const bool mixed = block_sum(others, parts) > 0.0f;
  const Loss found = given.labels[blockIdx.x] > 0.0f && mixed ? anomalous_loss(s) : Loss{s, 1.0f};
  if (threadIdx.x == 0) given.loss[blockIdx.x] = found.value;
  const float factor = found.slope * (float)(1.0 / ((double)given.n * given.pixels));
  // The barriers of the sums above have made every z visible to the block.
  for (int i = threadIdx.x; i < given.pixels; i += THREADS) given.dz[image + i] = factor * pseudo_huber_slope(given.z[image + i]);
}

template <class T, int V>
__device__ __forceinline__ void head_backward(const HeadBackwardParameters<T>& given) {
  kernels_before();
  __shared__ Floats<V> parts[THREADS];
  const Walk<V, THREADS, TILE> walk(given.pixels, given.c, given.lanes);
  Floats<V> dw, weight;
  Floats<1> db = {{0.0f}};
#pragma unroll
  for (int i = 0; i < V; i++) {
    dw.v[i] = 0.0f;
    weight.v[i] = walk.live ? given.weights[walk.channel + i] : 0.0f;
  }
  if (walk.live) {
    for (int pixel = walk.first + walk.row; pixel < walk.last; pixel += walk.rows) {
      const float d = given.dz[pixel];
      const size_t index = (size_t)pixel * given.c + walk.channel;
      const Floats<V> values = load<V>(given.x + index);
      Floats<V> result;
#pragma unroll
      for (int i = 0; i < V; i++) {
        dw.v[i] = fmaf(d, values.v[i], dw.v[i]);
        result.v[i] = d * weight.v[i];
      }
      if (given.dx) store(given.dx + index, result);
      db.v[0] += d;
    }
  }
  dw = column_sums(dw, parts, given.lanes);
  db = column_sums(db, reinterpret_cast<Floats<1>*>(parts), given.lanes);
  if (!walk.live || walk.row > 0) return;
  float* share = given.sums + (size_t)blockIdx.x * (given.c + 1);
#pragma unroll
  for (int i = 0; i < V; i++) share[walk.channel + i] = dw.v[i];
  if (walk.channel == 0) share[given.c] = db.v[0];
}

// Forward. `labels`, `loss` and `dz` are null in inference.
//
// Launch: one block of 256 threads per image; `lanes` threads (a power of two up to 32) share a pixel. Shared memory, static: 128 bytes.
// Bound: the bytes of x.
KERNEL(head_f32x4, HeadParameters<float>, (THREADS, 2), head<float, 4>)
KERNEL(head_f32x1, HeadParameters<float>, (THREADS, 2), head<float, 1>)
KERNEL(head_bf16x8, HeadParameters<bf16>, (THREADS, 2), head<bf16, 8>)
KERNEL(head_bf16x1, HeadParameters<bf16>, (THREADS, 2), head<bf16, 1>)

// Backward: dx = dz · w (null: not wanted), and partial sums of dw and db over 256 pixels each, sums [⌈pixels / 256⌉][c + 1]. `pixels` is
// the number of pixels in the batch.
//
// Launch: ⌈pixels / 256⌉ blocks in x, ⌈c / V / lanes⌉ in y, 256 threads: `lanes` threads side by side, each with V channels. Shared memory,
// static: V KiB. Bound: the bytes of x and dx.
KERNEL(head_backward_f32x4, HeadBackwardParameters<float>, (THREADS, 2), head_backward<float, 4>)
KERNEL(head_backward_f32x1, HeadBackwardParameters<float>, (THREADS, 2), head_backward<float, 1>)
KERNEL(head_backward_bf16x8, HeadBackwardParameters<bf16>, (THREADS, 2), head_backward<bf16, 8>)
KERNEL(head_backward_bf16x1, HeadBackwardParameters<bf16>, (THREADS, 2), head_backward<bf16, 1>)
