// End of a training step: copies the batch's losses and labels into the epoch's log, then advances the clock (hyper.cuh).
#include "hyper.cuh"

constexpr int THREADS = 256;

// log [2][capacity]: losses, then labels, of the epoch's samples in order; batches are `stride` apart.
//
// Launch: one block of 256 threads. No shared memory. Bound: launch.
extern "C" __global__ void __launch_bounds__(THREADS)
end_step(const float* __restrict__ loss, const float* __restrict__ labels, float* log, unsigned* clock, int n, int stride, int capacity) {
  kernels_before();
  const size_t first = (size_t)clock[CLOCK_BATCH] * stride;
  for (int i = threadIdx.x; i < n; i += THREADS) {
    log[first + i] = loss[i];
    log[capacity + first + i] = labels[i];
  }
  __syncthreads();  // every thread has read the clock
  if (threadIdx.x == 0) clock[CLOCK_BATCH] += 1;
}
