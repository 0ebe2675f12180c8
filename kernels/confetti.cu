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

struct BlurParameters {
  Draw draw;
  const int* weights;
  short* noise;  // read along the rows, written along the columns
  int* rows;     // the other way round
  int taps, side, channels;
};

// rows[i] = Σ weight · noise, in units of 2⁻¹⁶: at most 511 · 2¹⁶ in size.
static __device__ __forceinline__ void blur_rows(const BlurParameters& given) {
  kernels_before();
  if (!drawn(given.draw, blockIdx.x).anomalous) return;
  const int len = given.side * given.side * given.channels;
  const short* noise = given.noise + static_cast<size_t>(blockIdx.x) * len;
  int* rows = given.rows + static_cast<size_t>(blockIdx.x) * len;
  const int radius = given.taps / 2;
  for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < len; i += gridDim.y * blockDim.x) {
    const int c = i % given.channels, p = i / given.channels;
    const int x = p % given.side;
    const short* row = noise + static_cast<size_t>(p - x) * given.channels + c;
    int sum = 0;
    for (int t = 0; t < given.taps; ++t) sum += given.weights[t] * row[reflect(x + t - radius, given.side) * given.channels];
    rows[i] = sum;
  }
}
KERNEL(confetti_blur_rows, BlurParameters, (256), blur_rows)

// noise[i] = Σ weight · rows / 2³², truncated towards zero.
static __device__ __forceinline__ void blur_columns(const BlurParameters& given) {
  kernels_before();
  if (!drawn(given.draw, blockIdx.x).anomalous) return;
  const int line = given.side * given.channels, len = given.side * line;
  const int* rows = given.rows + static_cast<size_t>(blockIdx.x) * len;
  short* noise = given.noise + static_cast<size_t>(blockIdx.x) * len;
  const int radius = given.taps / 2;
  for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < len; i += gridDim.y * blockDim.x) {
    const int y = i / line;
    const int* column = rows + i % line;
    long long sum = 0;
    for (int t = 0; t < given.taps; ++t) {
      sum += static_cast<long long>(given.weights[t]) * column[static_cast<size_t>(reflect(y + t - radius, given.side)) * line];
    }
    noise[i] = static_cast<short>(sum / (1ll << 32));
  }
}
KERNEL(confetti_blur_columns, BlurParameters, (256), blur_columns)
