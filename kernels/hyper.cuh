// Hyperparameters and the clock: numbers that change between training steps. They lie in device memory so that the CUDA graph of a step
// can be replayed.
#pragma once
#include "portable.cuh"

// clock[CLOCK_BATCH] counts the batches of the epoch, clock[CLOCK_EPOCH] is the epoch.
enum { CLOCK_BATCH = 0, CLOCK_EPOCH = 1 };

// An element of the clock. The compiler could move a plain load of it ahead of kernels_before(), while the previous kernel may still be
// the one that advances it. Before sm_90 kernels do not overlap.
static __device__ __forceinline__ unsigned shown(const unsigned* clock, int what) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return clock[what];
#else
  return static_cast<const volatile unsigned*>(clock)[what];
#endif
}

// Columns of the hyperparameters, one row of HYPER_COLUMNS per batch of the epoch. HYPER_UPDATE holds the number of the update, an integer.
enum {
  HYPER_LR = 0,
  HYPER_WEIGHT_DECAY = 1,
  HYPER_NORM_MOMENTUM = 2,
  HYPER_ADAM_RATE = 3,
  HYPER_ADAM_ROOT = 4,
  HYPER_UPDATE = 5,
  HYPER_COLUMNS = 8
};

// The hyperparameters of the current batch.
static __device__ __forceinline__ const float* hyper_row(const float* hyper, const unsigned* clock) {
  return hyper + (size_t)shown(clock, CLOCK_BATCH) * HYPER_COLUMNS;
}
