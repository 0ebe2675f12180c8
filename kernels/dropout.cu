// Dropout: zeroes each value with probability 1/2 and doubles the others. The random numbers are those of the CPU: one Philox stream per
// dropout of the net, image of the batch and update.
#include "philox.cuh"
#include "hyper.cuh"

constexpr int THREADS = 256;
// A stream's number: the image, and from this bit on the dropout.
constexpr int DROPOUT_SHIFT = 24;

struct DropoutParameters {
  const float* x;
  float* y;
  const float* hyper;
  const unsigned* clock;
  unsigned long long seed;
  int number, n, length;
};

// y from x [n, length]; y may be x.
//
// Launch: ⌈n · ⌈length / 4⌉ / 256⌉ blocks, 256 threads, four values of an image per thread. No shared memory. Bound: bytes, each value is
// read and written once.
static __device__ __forceinline__ void zero_some(const DropoutParameters& given) {
  kernels_before();
  const int blocks = (given.length + 3) / 4;
  const size_t index = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (index >= (size_t)given.n * blocks) return;
  const unsigned image = index / blocks, block = index % blocks;
  const unsigned update = __float_as_uint(hyper_row(given.hyper, given.clock)[HYPER_UPDATE]);
  const Words4 words = Stream(given.seed, Purpose::DROPOUT, update, image | (unsigned)given.number << DROPOUT_SHIFT).block(block);
  const size_t at = (size_t)image * given.length + 4 * (size_t)block;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (4 * (int)block + i < given.length) given.y[at + i] = words.word[i] >> 31 ? given.x[at + i] + given.x[at + i] : 0.0f;
  }
}
KERNEL(dropout, DropoutParameters, (THREADS), zero_some)
