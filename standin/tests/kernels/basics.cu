// Kernels without faults that use all of CUDA C++ that the stand-in knows; tests/plain.rs compares their results with the expected ones.
#include "ptx.cuh"

extern "C" __global__ void basic_saxpy(const float* __restrict__ x, float* __restrict__ y, float a, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[i] = fmaf(a, x[i], y[i]);
}

// Every thread of a three-dimensional grid stores its indices.
extern "C" __global__ void basic_indices(uint4* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] =
      make_uint4(blockIdx.x | blockIdx.y << 8 | blockIdx.z << 16, threadIdx.x, threadIdx.y, threadIdx.z);
}

// The order of blocks, and within a block of threads between two barriers.
extern "C" __global__ void basic_order(unsigned* blocks, unsigned* threads, unsigned* counters) {
  if (threadIdx.x == 0) blocks[atomicAdd(&counters[0], 1u)] = blockIdx.x;
  __syncthreads();
  threads[atomicAdd(&counters[1], 1u)] = threadIdx.x;
}

// Rotates the block's values through static and dynamic shared memory, `rounds` times.
template <int N> static __device__ __forceinline__ void rotate(const int* x, int* y, int rounds) {
  __shared__ int fixed[N];
  DYN_SHARED(int, dynamic);
  const int t = threadIdx.x;
  fixed[t] = x[t];
  for (int i = 0; i < rounds; i++) {
    __syncthreads();
    dynamic[t] = fixed[(t + 1) % N];
    __syncthreads();
    fixed[t] = dynamic[t];
  }
  y[t] = fixed[t] + (int)(reinterpret_cast<uintptr_t>(dynamic) & 127);
}
#define ROTATE(N) \
  extern "C" __global__ void __launch_bounds__(N) basic_rotate_##N(const int* x, int* y, int rounds) { rotate<N>(x, y, rounds); }
ROTATE(96)
ROTATE(1000)

// Rows of results, one value per lane: shuffles of each kind and width, votes, reductions.
extern "C" __global__ void basic_warp(const int* x, int* y) {
  const int t = threadIdx.x;
  const int v = x[t];
  constexpr unsigned ALL = 0xffffffffu;
  y[t] = __shfl_sync(ALL, v, 5);
  y[32 + t] = __shfl_sync(ALL, v, t + 3, 8);
  y[64 + t] = __shfl_up_sync(ALL, v, 3);
  y[96 + t] = __shfl_up_sync(ALL, v, 1, 16);
  y[128 + t] = __shfl_down_sync(ALL, v, 7);
  y[160 + t] = __shfl_down_sync(ALL, v, 2, 4);
  y[192 + t] = __shfl_xor_sync(ALL, v, 17);
  y[224 + t] = (int)__ballot_sync(ALL, v & 1);
  y[256 + t] = __any_sync(ALL, v == 1'000'000) * 2 + __all_sync(ALL, v < 1'000'000);
  y[288 + t] = __reduce_add_sync(ALL, v);
  y[320 + t] = (int)__reduce_max_sync(ALL, (unsigned)v);
  long long wide = (long long)v << 33;
  y[352 + t] = (int)(__shfl_xor_sync(ALL, wide, 1) >> 33);
}

extern "C" __global__ void basic_block_votes(const int* x, int* y) {
  const int t = threadIdx.x, v = x[t];
  y[t] = __syncthreads_count(v & 1) * 4 + __syncthreads_or(v == 3) * 2 + __syncthreads_and(v >= 0);
}

// Threads that end early do not hold up the others.
extern "C" __global__ void basic_early_exit(int* y, int n) {
  __shared__ int sum;
  const int t = threadIdx.x;
  if (t == 0) sum = 0;
  __syncthreads();
  if (t >= n) return;
  atomicAdd(&sum, t);
  __syncthreads();
  y[t] = sum;
}

// What shared memory holds before and after the wait for a copy; of the second row only the first 8 bytes of 16 are read, of the third
// none.
extern "C" __global__ void basic_cp_async(const int* x, int* y) {
  __shared__ __align__(16) int tile[3][4];
  for (int i = 0; i < 12; i++) tile[i / 4][i % 4] = -7;
  cp_async16(tile[0], x);
  cp_async_commit();
  cp_async16_partial(tile[1], x + 4, 8);
  cp_async16(tile[2], x + 8, false);
  cp_async_commit();
  for (int i = 0; i < 12; i++) y[i] = tile[i / 4][i % 4];
  cp_async_wait<1>();
  for (int i = 0; i < 12; i++) y[12 + i] = tile[i / 4][i % 4];
  cp_async_wait<0>();
  for (int i = 0; i < 12; i++) y[24 + i] = tile[i / 4][i % 4];
}

// The registers that each lane receives from 32 rows of 8 bf16.
extern "C" __global__ void basic_ldmatrix(const unsigned short* x, unsigned* y) {
  __shared__ __align__(16) unsigned short tile[32 * 8];
  const int t = threadIdx.x;
  for (int i = t; i < 256; i += 32) tile[i] = x[i];
  __syncthreads();
  unsigned a[4], b[4], c[2], d[2];
  ldmatrix_x4(a, tile + t * 8);
  ldmatrix_x4_trans(b, tile + t * 8);
  ldmatrix_x2(c, tile + (t & 15) * 8);
  ldmatrix_x2_trans(d, tile + (t & 15) * 8);
  for (int i = 0; i < 4; i++) {
    y[t * 12 + i] = a[i];
    y[t * 12 + 4 + i] = b[i];
    y[t * 12 + 8 + i] = i < 2 ? c[i] : d[i - 2];
  }
}

// One mma of a warp: a is 16 x 16 and b 16 x 8, rows first.
extern "C" __global__ void basic_mma(const float* a, const float* b, const float* c, float* d) {
  const int g = threadIdx.x / 4, t = 2 * (threadIdx.x % 4);
  unsigned fa[4], fb[2];
  float fd[4];
  for (int i = 0; i < 4; i++) {
    const float* p = a + (g + 8 * (i & 1)) * 16 + t + 8 * (i >> 1);
    fa[i] = pack_bf16(p[0], p[1]);
    fd[i] = c[(g + 8 * (i >> 1)) * 8 + t + (i & 1)];
  }
  for (int i = 0; i < 2; i++) fb[i] = pack_bf16(b[(t + 8 * i) * 8 + g], b[(t + 8 * i + 1) * 8 + g]);
  mma_bf16_16816(fd, fa, fb);
  for (int i = 0; i < 4; i++) d[(g + 8 * (i >> 1)) * 8 + t + (i & 1)] = fd[i];
}

extern "C" __global__ void basic_bf16(const float* x, unsigned short* y, float* back, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    const bf16 h = to_bf16(x[i]);
    y[i] = h.bits;
    back[i] = to_float(h) + low_to_float(pack_bf16(x[i], 0.f)) - high_to_float(pack_bf16(0.f, x[i]));
  }
}

__constant__ float basic_taps[3] = {0.25f, 0.5f, 0.25f};

// Functions of float, a row each.
extern "C" __global__ void basic_math(const float* x, float* y, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    const float v = x[i];
    y[i] = sqrtf(fabsf(v));
    y[n + i] = expm1f(v);
    y[2 * n + i] = logf(1.f + fabsf(v));
    y[3 * n + i] = fminf(v, 0.25f) + fmaxf(v, -0.25f);
    y[4 * n + i] = (float)__float2int_rn(v * 10.f);
    y[5 * n + i] = __uint_as_float(__float_as_uint(v) ^ 0x80000000u);
    y[6 * n + i] = basic_taps[i % 3] * v + __ldg(x + i);
    // Contraction would change this: the product is rounded before the sum.
    y[7 * n + i] = v * 1.1f - v;
  }
}

extern "C" __global__ void basic_integers(unsigned* y) {
  const unsigned t = threadIdx.x, a = t * 0x9E3779B9u + 7;
  y[t] = __umulhi(a, 0xD2511F53u);
  y[32 + t] = (unsigned)(((unsigned long long)a * 0xCD9E8D57ull) >> 17);
  y[64 + t] = __popc(a) + 100 * __clz(a) + 10000 * __ffs(a);
  y[96 + t] = (unsigned)__float2int_rz(3e9f * (t & 1 ? -1.f : 1.f)) + (unsigned)__float2int_rn(__uint_as_float(0x7fc00000u));
  y[128 + t] = min(a, 5u) + max((int)t, 3);
}

extern "C" __global__ void basic_bytes(const unsigned char* x, float* y, int n4) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n4) return;
  const uchar4 v = reinterpret_cast<const uchar4*>(x)[i];
  reinterpret_cast<float4*>(y)[i] = make_float4(v.x, v.y, v.z, v.w);
}

extern "C" __global__ void basic_atomics(int* y) {
  const int t = threadIdx.x;
  atomicAdd(&y[0], t);
  atomicMax(&y[1], t);
  atomicMin(&y[2], t);
  atomicOr(&y[3], 1 << (t & 7));
  atomicExch(&y[4], 9);
  atomicCAS(&y[5], 0, t + 1);
  atomicInc(reinterpret_cast<unsigned*>(&y[6]), 9u);
}

// Faults that the plain stand-in finds.
extern "C" __global__ void basic_store(float* y, long long i) {
  if (blockIdx.x == 1 && threadIdx.x == 2) y[i] = 1.f;
}
extern "C" __global__ void basic_read_shared(float* y, int i) {
  DYN_SHARED(float, tile);
  __shared__ float fixed[4];
  y[threadIdx.x] = tile[i] + fixed[threadIdx.x & 3];
}
extern "C" __global__ void basic_assert(int n) { assert(n < 3); }
extern "C" __global__ void basic_deep(float* y, int n) {
  volatile float wide[40000];
  for (int i = 0; i < 40000; i++) wide[i] = n;
  y[0] = wide[n];
}
