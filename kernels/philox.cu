// The functions of philox.cuh by themselves, for checks against the CPU.
#include "philox.cuh"

// Numbers 0 … n − 1 of a stream: bits, and the standard normals with the same indices.
//
// Launch: ⌈n / 1024⌉ blocks, 256 threads, four numbers per thread. No shared memory. Bound: about 250 instructions per four numbers, or
// 8 bytes written per number.
extern "C" __global__ void __launch_bounds__(256) philox_stream(
    unsigned long long seed, unsigned purpose, unsigned epoch, unsigned sample, unsigned n, unsigned* __restrict__ bits,
    float* __restrict__ normals) {
  kernels_before();
  const Stream stream(seed, purpose, epoch, sample);
  const unsigned block = blockIdx.x * blockDim.x + threadIdx.x;
  const Words4 words = stream.block(block);
  const Floats4 values = stream.normals(block);
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) {
    const unsigned i = 4 * block + k;
    if (i < n) {
      bits[i] = words.word[k];
      normals[i] = values.value[k];
    }
  }
}

// `ln` of n positive normal numbers; sine and cosine of n angles, in turns.
//
// Launch: ⌈n / 256⌉ blocks, 256 threads, one number per thread. No shared memory. Bound: bytes, 20 per number.
extern "C" __global__ void __launch_bounds__(256) philox_functions(
    const float* __restrict__ x, const unsigned* __restrict__ turns, unsigned n, float* __restrict__ logarithm,
    float* __restrict__ sine, float* __restrict__ cosine) {
  kernels_before();
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  logarithm[i] = ln(x[i]);
  const Floats2 turned = sin_cos_turns(turns[i]);
  sine[i] = turned.first;
  cosine[i] = turned.second;
}

// Philox itself: n times two key words and four counter words in, four words out.
//
// Launch: ⌈n / 256⌉ blocks, 256 threads, one counter per thread. No shared memory. Bound: bytes, 40 per counter.
extern "C" __global__ void __launch_bounds__(256)
    philox_rounds(const unsigned* __restrict__ inputs, unsigned n, unsigned* __restrict__ outputs) {
  kernels_before();
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const unsigned* in = inputs + 6 * static_cast<size_t>(i);
  const Words4 words = philox(in[0], in[1], in[2], in[3], in[4], in[5]);
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) outputs[4 * static_cast<size_t>(i) + k] = words.word[k];
}
