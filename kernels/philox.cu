// The functions of philox.cuh by themselves, for checks against the CPU.
#include "philox.cuh"

// Numbers 0 … n − 1 of a stream: bits, and the same indices' standard normals.
// One thread per block of four; 8 bytes written per number, about 250 instructions per four.
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

// `ln` of n positive normal numbers; sine and cosine of n turns. One thread per number; 20 bytes moved each.
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

// Philox itself: n times two key words and four counter words in, four words out. One thread each; 40 bytes moved.
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
