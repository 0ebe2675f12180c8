// End of a training step: copies the batch's losses and labels into the epoch's log, then advances the clock (hyper.cuh).
#include "hyper.cuh"

constexpr int THREADS = 256;

struct EndStepParameters {
  const float *loss, *labels;
  float* log;
  unsigned* clock;
  int n, stride, capacity;
};

// log [2][capacity]: losses, then labels, of the epoch's samples in order; batches are `stride` apart.
//
// Launch: one block of 256 threads. No shared memory. Bound: launch.
static __device__ __forceinline__ void end(const EndStepParameters& given) {
  kernels_before();
  const size_t first = (size_t)given.clock[CLOCK_BATCH] * given.stride;
  for (int i = threadIdx.x; i < given.n; i += THREADS) {
    given.log[first + i] = given.loss[i];
    given.log[given.capacity + first + i] = given.labels[i];
  }
  __syncthreads();  // every thread has read the clock
  if (threadIdx.x == 0) given.clock[CLOCK_BATCH] += 1;
}
KERNEL(end_step, EndStepParameters, (THREADS), end)
