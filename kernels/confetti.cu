// The blur of confetti: separable, in integers, border reflected: `src/data/anomaly/confetti.rs`, where the order of summation
// does not matter.
//
// Two kernels, along the rows and along the columns, over those images of the batch that become anomalies.
//
// Launch of both: grid (images, parts of an image) of any shape, 256 threads, one value per thread and iteration. No shared memory.
// Bound: `taps` multiply-adds per value; neighbouring threads read the same values, so device memory is read about once (2 bytes read and
// 4 written per value along the rows, 4 and 2 along the columns).
#include "reflect.cuh"
#include "sample.cuh"

// rows[i] = Σ weight · noise, in units of 2⁻¹⁶: at most 511 · 2¹⁶ in size.
extern "C" __global__ void __launch_bounds__(256) confetti_blur_rows(
    const short* __restrict__ noise, const int* __restrict__ weights, int taps, const unsigned* __restrict__ clock,
    const unsigned* __restrict__ order, unsigned stride, unsigned long long seed, int supervise, int side, int channels,
    int* __restrict__ rows) {
  kernels_before();
  if (!drawn(clock, order, stride, blockIdx.x, seed, supervise).anomalous) return;
  const int len = side * side * channels;
  noise += static_cast<size_t>(blockIdx.x) * len;
  rows += static_cast<size_t>(blockIdx.x) * len;
  const int radius = taps / 2;
  for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < len; i += gridDim.y * blockDim.x) {
    const int c = i % channels, p = i / channels;
    const int x = p % side;
    const short* row = noise + static_cast<size_t>(p - x) * channels + c;
    int sum = 0;
    for (int t = 0; t < taps; ++t) sum += weights[t] * row[reflect(x + t - radius, side) * channels];
    rows[i] = sum;
  }
}

// noise[i] = Σ weight · rows / 2³², truncated towards zero.
extern "C" __global__ void __launch_bounds__(256) confetti_blur_columns(
    const int* __restrict__ rows, const int* __restrict__ weights, int taps, const unsigned* __restrict__ clock,
    const unsigned* __restrict__ order, unsigned stride, unsigned long long seed, int supervise, int side, int channels,
    short* __restrict__ noise) {
  kernels_before();
  if (!drawn(clock, order, stride, blockIdx.x, seed, supervise).anomalous) return;
  const int line = side * channels, len = side * line;
  rows += static_cast<size_t>(blockIdx.x) * len;
  noise += static_cast<size_t>(blockIdx.x) * len;
  const int radius = taps / 2;
  for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < len; i += gridDim.y * blockDim.x) {
    const int y = i / line;
    const int* column = rows + i % line;
    long long sum = 0;
    for (int t = 0; t < taps; ++t) {
      sum += static_cast<long long>(weights[t]) * column[static_cast<size_t>(reflect(y + t - radius, side)) * line];
    }
    noise[i] = static_cast<short>(sum / (1ll << 32));
  }
}
