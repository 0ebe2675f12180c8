// The functions of philox.cuh by themselves, for checks against the CPU.
#include "philox.cuh"

struct PhiloxStreamParameters {
  unsigned long long seed;
  Purpose purpose;
  unsigned epoch, sample, n;
  unsigned* bits;
  float* normals;
};

// Numbers 0 … n − 1 of a stream: bits, and the standard normals with the same indices.
//
// Launch: ⌈n / 1024⌉ blocks, 256 threads, four numbers per thread. No shared memory. Bound: about 250 instructions per four numbers, or
// 8 bytes written per number.
static __device__ __forceinline__ void numbers(const PhiloxStreamParameters& given) {
  kernels_before();
  const Stream stream(given.seed, given.purpose, given.epoch, given.sample);
  const unsigned block = blockIdx.x * blockDim.x + threadIdx.x;
  const Words4 words = stream.block(block);
  const Floats4 values = stream.normals(block);
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) {
    const unsigned i = 4 * block + k;
    if (i < given.n) {
      given.bits[i] = words.word[k];
      given.normals[i] = values.value[k];
    }
  }
}
KERNEL(philox_stream, PhiloxStreamParameters, (256), numbers)

struct PhiloxFunctionsParameters {
  const float* x;
  const unsigned* turns;
  unsigned n;
  float *logarithm, *sine, *cosine;
};

// `ln` of n positive normal numbers; sine and cosine of n angles, in turns.
//
// Launch: ⌈n / 256⌉ blocks, 256 threads, one number per thread. No shared memory. Bound: bytes, 20 per number.
static __device__ __forceinline__ void functions(const PhiloxFunctionsParameters& given) {
  kernels_before();
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= given.n) return;
  given.logarithm[i] = ln(given.x[i]);
  const Floats2 turned = sin_cos_turns(given.turns[i]);
  given.sine[i] = turned.first;
  given.cosine[i] = turned.second;
}
KERNEL(philox_functions, PhiloxFunctionsParameters, (256), functions)

struct PhiloxRoundsParameters {
  const unsigned* inputs;
  unsigned n;
  unsigned* outputs;
};

// Philox itself: n times two key words and four counter words in, four words out.
//
// Launch: ⌈n / 256⌉ blocks, 256 threads, one counter per thread. No shared memory. Bound: bytes, 40 per counter.
static __device__ __forceinline__ void rounds(const PhiloxRoundsParameters& given) {
  kernels_before();
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= given.n) return;
  const unsigned* in = given.inputs + 6 * static_cast<size_t>(i);
  const Words4 words = philox(in[0], in[1], in[2], in[3], in[4], in[5]);
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) given.outputs[4 * static_cast<size_t>(i) + k] = words.word[k];
}
KERNEL(philox_rounds, PhiloxRoundsParameters, (256), rounds)
