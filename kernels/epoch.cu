// End of a training step: the batch's losses and labels go to their places in the epoch's log, then the clock advances.
#include "hyper.cuh"

constexpr int THREADS = 256;

// One block. log [2][capacity]: losses, then labels, of the epoch's samples in order; batches are `stride` apart.
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
