// Numbers that change from step to step, in device memory so that a captured step can be replayed.
#pragma once
#include "portable.cuh"

// clock[CLOCK_BATCH] counts the batches of the epoch, clock[CLOCK_EPOCH] is the epoch.
enum { CLOCK_BATCH = 0, CLOCK_EPOCH = 1 };

// What the clock shows. A kernel that only reads it could read it before kernels_before(), as far as the compiler knows, and the kernel
// before may be the one that advances it. Before sm_90 none is launched ahead.
static __device__ __forceinline__ unsigned shown(const unsigned* clock, int what) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return clock[what];
#else
  return static_cast<const volatile unsigned*>(clock)[what];
#endif
}

// Columns of the hyper-parameters, a row of HYPER_COLUMNS per batch of the epoch. HYPER_UPDATE holds the bits of the update's number.
enum {
  HYPER_LR = 0,
  HYPER_WEIGHT_DECAY = 1,
  HYPER_NORM_MOMENTUM = 2,
  HYPER_ADAM_RATE = 3,
  HYPER_ADAM_ROOT = 4,
  HYPER_UPDATE = 5,
  HYPER_COLUMNS = 8
};

// The hyper-parameters of the batch that is being trained on.
static __device__ __forceinline__ const float* hyper_row(const float* hyper, const unsigned* clock) {
  return hyper + (size_t)shown(clock, CLOCK_BATCH) * HYPER_COLUMNS;
}
