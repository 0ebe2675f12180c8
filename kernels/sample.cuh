// Which sample an image of a batch is, and what becomes of it: the draws of `src/data/batches.rs`.
#pragma once
#include "philox.cuh"
#include "hyper.cuh"

// `supervise::Supervise`, and anomalies that were made beforehand and stand beside the nominal images.
enum Supervise { UNSUPERVISED, OTHER, NOISE, MALFORMED_NORMAL, MALFORMED_NORMAL_GT, OFFLINE };

struct Sample {
  unsigned long long seed;
  unsigned epoch, number;
  bool anomalous;

  __device__ __forceinline__ Stream stream(unsigned purpose) const { return Stream(seed, purpose, epoch, number); }

  // Which of `count` true anomalies or outliers takes its place or is added to it.
  __device__ __forceinline__ unsigned pick(unsigned count) const { return stream(PURPOSE_SUPERVISE).below(1, count); }
};

// Image `image` of the batch that the clock (batch within the epoch, epoch) shows: sample order[batch · stride + image].
__device__ __forceinline__ Sample drawn(
    const unsigned* __restrict__ clock, const unsigned* __restrict__ order, unsigned stride, unsigned image,
    unsigned long long seed, int supervise) {
  const unsigned epoch = shown(clock, CLOCK_EPOCH);
  const unsigned number = order[static_cast<size_t>(shown(clock, CLOCK_BATCH)) * stride + image];
  const bool anomalous = supervise != UNSUPERVISED && Stream(seed, PURPOSE_SUPERVISE, epoch, number).coin(0);
  return {seed, epoch, number, anomalous};
}
