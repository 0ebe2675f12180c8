// Counter-based randomness on the device: `src/rng.rs`, operation by operation, so that both give the same bits.
//
// Integers, or single float operations in a fixed order; kernels are compiled without contraction, with IEEE division and
// square root.
#pragma once
#include "portable.cuh"

// What a number is drawn for; each purpose is a stream of its own. The numbers stay as they are: seeds give what they gave.
enum class Purpose {
  INIT,           // initial weights
  SHUFFLE,        // order of the samples in an epoch
  SUPERVISE,      // whether a sample becomes an anomaly, and which outlier takes its place
  ANOMALY,        // the content of an artificial anomaly
  AUGMENT,        // geometric and colour augmentation
  AUGMENT_NOISE,  // per-value noise of the augmentation
  SURFACE,        // synthetic surfaces of the demo
  DROPOUT,        // which values dropout zeroes; the update takes the place of the epoch, the image's number in its batch that of the sample
  CHECK,          // random inputs of self-checks
  LABELLED,       // which labelled anomalies are learned from
  HELD_OUT,       // which good images are held out of training
  BOOTSTRAP,      // which samples a draw of the bootstrap takes
};

struct Words4 {
  unsigned word[4];
};

struct Floats2 {
  float first, second;
};

struct Floats4 {
  float value[4];
};

// Ten rounds of Philox4x32 on one 128-bit counter.
__device__ __forceinline__ Words4 philox(unsigned k0, unsigned k1, unsigned c0, unsigned c1, unsigned c2, unsigned c3) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned long long p0 = 0xD2511F53ull * c0;
    const unsigned long long p1 = 0xCD9E8D57ull * c2;
    c0 = static_cast<unsigned>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<unsigned>(p1);
    c2 = static_cast<unsigned>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<unsigned>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// The upper 24 bits as a number in [0, 1).
__device__ __forceinline__ float unit(unsigned bits) {
  return static_cast<float>(bits >> 8) * (1.0f / 16777216.0f);
}

// An integer in 0..n from 32 bits, by multiply-shift.
__device__ __forceinline__ unsigned scaled(unsigned bits, unsigned n) {
  return static_cast<unsigned>(static_cast<unsigned long long>(bits) * n >> 32);
}

// Natural logarithm of a positive normal number (Cephes polynomial).
__device__ __forceinline__ float ln(float x) {
  const unsigned bits = __float_as_uint(x);
  int exponent = static_cast<int>(bits >> 23) - 126;
  float m = __uint_as_float((bits & 0x007FFFFFu) | 0x3F000000u);  // [0.5, 1)
  if (m < 0.707106781186547524f) {
    exponent -= 1;
    m = m + m - 1.0f;
  } else {
    m = m - 1.0f;
  }
  const float z = m * m;
  float p = 7.0376836e-2f;
  p = p * m + -1.151461e-1f;
  p = p * m + 1.1676999e-1f;
  p = p * m + -1.2420141e-1f;
  p = p * m + 1.4249323e-1f;
  p = p * m + -1.6668058e-1f;
  p = p * m + 2.0000715e-1f;
  p = p * m + -2.4999994e-1f;
  p = p * m + 3.333333e-1f;
  const float e = static_cast<float>(exponent);
  const float y = p * m * z - 2.1219444e-4f * e - 0.5f * z;
  return m + y + 0.6933594f * e;
}

// Sine and cosine of a full turn times `turn / 2^32`: the angle is reduced with integers.
__device__ __forceinline__ Floats2 sin_cos_turns(unsigned turn) {
  const unsigned quadrant = (turn + (1u << 29)) >> 30;
  const int rest = static_cast<int>(turn - (quadrant << 30));  // [-1/8, 1/8) turns
  const float x = static_cast<float>(rest >> 5) * (6.28318530717958648f / 134217728.0f);
  const float z = x * x;
  const float sine = ((-1.9515296e-4f * z + 8.332161e-3f) * z - 1.6666655e-1f) * z * x + x;
  const float cosine = ((2.4433157e-5f * z - 1.3887316e-3f) * z + 4.1666646e-2f) * z * z - 0.5f * z + 1.0f;
  switch (quadrant) {
    case 0: return {sine, cosine};
    case 1: return {cosine, -sine};
    case 2: return {-sine, -cosine};
    default: return {-cosine, sine};
  }
}

// Two independent standard normals from two words.
__device__ __forceinline__ Floats2 box_muller(unsigned a, unsigned b) {
  const float radius = sqrtf(-2.0f * ln(static_cast<float>((a >> 8) + 1u) * (1.0f / 16777216.0f)));
  const Floats2 turned = sin_cos_turns(b);
  return {radius * turned.second, radius * turned.first};
}

// One stream of random numbers with random access by index.
struct Stream {
  unsigned key[2];
  unsigned purpose, epoch, sample;

  __device__ __forceinline__ Stream(unsigned long long seed, Purpose purpose, unsigned epoch, unsigned sample)
      : key{static_cast<unsigned>(seed), static_cast<unsigned>(seed >> 32)},
        purpose(static_cast<unsigned>(purpose)),
        epoch(epoch),
        sample(sample) {}

  // Four numbers at once: indices 4 · index … 4 · index + 3.
  __device__ __forceinline__ Words4 block(unsigned index) const {
    return philox(key[0], key[1], index, sample, epoch, purpose);
  }

  // 32 random bits.
  __device__ __forceinline__ unsigned bits(unsigned index) const {
    const Words4 words = block(index / 4);
    const unsigned low = index & 1 ? words.word[1] : words.word[0];
    const unsigned high = index & 1 ? words.word[3] : words.word[2];
    return index & 2 ? high : low;
  }

  // True with probability ½.
  __device__ __forceinline__ bool coin(unsigned index) const { return bits(index) >> 31 == 1; }

  // Uniform on [low, high).
  __device__ __forceinline__ float range(unsigned index, float low, float high) const {
    return low + (high - low) * unit(bits(index));
  }

  // Uniform integer in 0..n.
  __device__ __forceinline__ unsigned below(unsigned index, unsigned n) const { return scaled(bits(index), n); }

  // Four standard normals: indices 4 · index … 4 · index + 3.
  __device__ __forceinline__ Floats4 normals(unsigned index) const {
    const Words4 words = block(index);
    const Floats2 a = box_muller(words.word[0], words.word[1]);
    const Floats2 b = box_muller(words.word[2], words.word[3]);
    return {{a.first, a.second, b.first, b.second}};
  }
};
