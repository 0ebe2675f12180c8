// Dropout: zeroes each value with probability 1/2 and doubles the others. The random numbers are those of the CPU: one Philox stream per
// dropout of the net, image of the batch and update.
#include "philox.cuh"
#include "hyper.cuh"

constexpr int THREADS = 256;
// A stream's number: the image, and from this bit on the dropout.
constexpr int DROPOUT_SHIFT = 24;

// y from x [n, length]; y may be x.
//
// Launch: ⌈n · ⌈length / 4⌉ / 256⌉ blocks, 256 threads, four values of an image per thread. No shared memory. Bound: bytes, each value is
// read and written once.
extern "C" __global__ void __launch_bounds__(THREADS)
dropout(const float* x, float* y, const float* __restrict__ hyper, const unsigned* __restrict__ clock, unsigned long long seed, int number,
  int n, int length) {
  kernels_before();
  const int blocks = (length + 3) / 4;
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)n * blocks) return;
  const unsigned image = index / blocks, block = index % blocks;
  const unsigned update = __float_as_uint(hyper_row(hyper, clock)[HYPER_UPDATE]);
  const Words4 words = Stream(seed, PURPOSE_DROPOUT, update, image | (unsigned)number << DROPOUT_SHIFT).block(block);
  const size_t at = (size_t)image * length + 4 * (size_t)block;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (4 * (int)block + i < length) y[at + i] = words.word[i] >> 31 ? x[at + i] + x[at + i] : 0.0f;
  }
}
