// SGD with Nesterov momentum and Adam over one flat buffer of parameters. Weight decay is coupled: g += wd * w first. The arithmetic is that
// of the CPU, operation by operation, so the bits are the same.
//
// Launch of both: ⌈len / 256⌉ blocks, 256 threads, one parameter per thread. No shared memory. Bound: bytes: parameters and moments are read
// and written once, gradients read once.
#include "hyper.cuh"

constexpr int THREADS = 256;

// buf = 0.9 buf + g; w -= lr (g + 0.9 buf).
extern "C" __global__ void __launch_bounds__(THREADS)
sgd(float* params, const float* __restrict__ grads, float* momentum, const float* __restrict__ hyper, const unsigned* __restrict__ clock,
    int len) {
  kernels_before();
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= len) return;
  const float* row = hyper_row(hyper, clock);
  const float lr = row[HYPER_LR], mu = 0.9f;
  const float w = params[i], g = grads[i] + row[HYPER_WEIGHT_DECAY] * w;
  const float buf = mu * momentum[i] + g;
  momentum[i] = buf;
  params[i] = w - lr * (g + mu * buf);
}

// m = 0.9 m + 0.1 g; v = 0.999 v + 0.001 g^2; w -= rate m / (sqrt(v) / root + 1e-8), with the bias corrections in rate and root.
extern "C" __global__ void __launch_bounds__(THREADS)
adam(float* params, const float* __restrict__ grads, float* m, float* v, const float* __restrict__ hyper, const unsigned* __restrict__ clock,
     int len) {
  kernels_before();
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= len) return;
  const float* row = hyper_row(hyper, clock);
  const float w = params[i], g = grads[i] + row[HYPER_WEIGHT_DECAY] * w;
  const float first = 0.9f * m[i] + (float)(1.0 - 0.9) * g;
  const float second = 0.999f * v[i] + (float)(1.0 - 0.999) * g * g;
  m[i] = first;
  v[i] = second;
  params[i] = w - row[HYPER_ADAM_RATE] * first / (sqrtf(second) / row[HYPER_ADAM_ROOT] + 1e-8f);
}
