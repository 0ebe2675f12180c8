// Which sample an image of a batch is, and whether it becomes an anomaly: the random draws of `src/data/batches.rs`.
#pragma once
#include "philox.cuh"
#include "hyper.cuh"

// `supervise::Supervise`; OFFLINE: anomalies that were made before training and follow the normal images.
enum Supervise { UNSUPERVISED, OTHER, NOISE, MALFORMED_NORMAL, MALFORMED_NORMAL_GT, OFFLINE };

struct Sample {
  unsigned long long seed;
  unsigned epoch, number;
  bool anomalous;

  __device__ __forceinline__ Stream stream(unsigned purpose) const { return Stream(seed, purpose, epoch, number); }

  // Which of `count` true anomalies or outliers replaces it or is added to it.
  __device__ __forceinline__ unsigned pick(unsigned count) const { return stream(PURPOSE_SUPERVISE).below(1, count); }
};

// Image `image` of the clock's batch: sample order[batch · stride + image] of the clock's epoch.
__device__ __forceinline__ Sample drawn(
    const unsigned* __restrict__ clock, const unsigned* __restrict__ order, unsigned stride, unsigned image,
    unsigned long long seed, int supervise) {
  const unsigned epoch = shown(clock, CLOCK_EPOCH);
  const unsigned number = order[static_cast<size_t>(shown(clock, CLOCK_BATCH)) * stride + image];
  const bool anomalous = supervise != UNSUPERVISED && Stream(seed, PURPOSE_SUPERVISE, epoch, number).coin(0);
  return {seed, epoch, number, anomalous};
}
