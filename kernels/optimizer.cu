// SGD with Nesterov momentum and Adam over one flat buffer of parameters. Weight decay is coupled: g += wd * w first. The arithmetic is that
// of the CPU, operation by operation, so the bits are the same.
//
// Launch of both: ⌈len / 256⌉ blocks, 256 threads, one parameter per thread. No shared memory. Bound: bytes: parameters and moments are read
// and written once, gradients read once.
#include "hyper.cuh"

constexpr int THREADS = 256;

struct SgdParameters {
  float* params;
  const float* grads;
  float* momentum;
  const float* hyper;
  const unsigned* clock;
  int len;
};

// buf = 0.9 buf + g; w -= lr (g + 0.9 buf).
static __device__ __forceinline__ void update_sgd(const SgdParameters& given) {
  kernels_before();
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= given.len) return;
  const float* row = hyper_row(given.hyper, given.clock);
  const float lr = row[HYPER_LR], mu = 0.9f;
  const float w = given.params[i], g = given.grads[i] + row[HYPER_WEIGHT_DECAY] * w;
  const float buf = mu * given.momentum[i] + g;
  given.momentum[i] = buf;
  given.params[i] = w - lr * (g + mu * buf);
}
KERNEL(sgd, SgdParameters, (THREADS), update_sgd)

struct AdamParameters {
  float* params;
  const float* grads;
  float *m, *v;
  const float* hyper;
  const unsigned* clock;
  int len;
};

// m = 0.9 m + 0.1 g; v = 0.999 v + 0.001 g^2; w -= rate m / (sqrt(v) / root + 1e-8), with the bias corrections in rate and root.
static __device__ __forceinline__ void update_adam(const AdamParameters& given) {
  kernels_before();
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= given.len) return;
  const float* row = hyper_row(given.hyper, given.clock);
  const float w = given.params[i], g = given.grads[i] + row[HYPER_WEIGHT_DECAY] * w;
  const float first = 0.9f * given.m[i] + (float)(1.0 - 0.9) * g;
  const float second = 0.999f * given.v[i] + (float)(1.0 - 0.999) * g * g;
  given.m[i] = first;
  given.v[i] = second;
  given.params[i] = w - row[HYPER_ADAM_RATE] * first / (sqrtf(second) / row[HYPER_ADAM_ROOT] + 1e-8f);
}
KERNEL(adam, AdamParameters, (THREADS), update_adam)
