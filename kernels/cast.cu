// f32 to bf16, rounded to nearest even, in the forms that the tensor-core convolutions read.
#include "ptx.cuh"

// y[row, i] = x[row, i] for i < length, 0 for length <= i < stride: images as one row, and weights [k, taps] whose rows are padded to
// a multiple of 8.
//
// Launch: ⌈stride / 2048⌉ blocks in x, one for each row in y, 256 threads of eight neighbours each. y starts at 16 bytes, and
// stride is a multiple of 8 where there are several rows. No shared memory. Bound: bytes, 6 per element.
extern "C" __global__ void __launch_bounds__(256) cast_rows(const float* __restrict__ x, bf16* __restrict__ y,
                                                            long long length, long long stride) {
  const long long first = (blockIdx.x * 256ll + threadIdx.x) * 8;
  if (first >= stride) return;
  x += blockIdx.y * length + first;
  y += blockIdx.y * stride + first;
  float v[8];
  if (length - first >= 8 && reinterpret_cast<size_t>(x) % sizeof(float4) == 0) {
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
      const float4 quad = *reinterpret_cast<const float4*>(x + i);
      v[i] = quad.x, v[i + 1] = quad.y, v[i + 2] = quad.z, v[i + 3] = quad.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = first + i < length ? x[i] : 0.0f;
  }
  if (stride - first >= 8) {
    *reinterpret_cast<uint4*>(y) =
        make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++)
      if (first + i < stride) y[i] = to_bf16(v[i]);
  }
}

// Weights turned around, with which fprop of dy is the gradient of the input: y[c, side − 1 − r, side − 1 − s, k] = x[k, r, s, c], in
// rows [side², k] of length `stride` each, zeros behind their end.
//
// Launch: ⌈k / 32⌉ blocks in x, ⌈c / 32⌉ in y, side² taps in z, 128 threads. Shared memory, static: 4.1 KiB. Bound: bytes, 6 per element.
extern "C" __global__ void __launch_bounds__(128) cast_turned(const float* __restrict__ x, bf16* __restrict__ y, int k, int taps,
                                                              int c, int stride) {
  __shared__ float tile[32][33];
  const int first_k = blockIdx.x * 32, first_c = blockIdx.y * 32, tap = blockIdx.z;
#pragma unroll
  for (int row = threadIdx.x / 32; row < 32; row += 4) {
    const int at_k = first_k + row, at_c = first_c + threadIdx.x % 32;
    tile[row][threadIdx.x % 32] = at_k < k && at_c < c ? x[((size_t)at_k * taps + tap) * c + at_c] : 0.0f;
  }
  __syncthreads();
  const int column = threadIdx.x / 4, row = threadIdx.x % 4 * 8;
  if (first_c + column >= c) return;
  bf16* out = y + ((size_t)(first_c + column) * stride + (taps - 1 - tap) * k + first_k + row);
  // Where k is a multiple of 8, rows of k are whole chunks.
  if (k % 8 == 0) {
    if (first_k + row >= k) return;
    unsigned pairs[4];
#pragma unroll
    for (int e = 0; e < 4; e++) pairs[e] = pack_bf16(tile[row + 2 * e][column], tile[row + 2 * e + 1][column]);
    *reinterpret_cast<uint4*>(out) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    return;
  }
#pragma unroll
  for (int e = 0; e < 8; e++)
    if (first_k + row + e < k) out[e] = to_bf16(tile[row + e][column]);
  // The last tap's last block ends the row.
  if (tap == 0 && first_k + 32 >= k)
    for (int at = taps * k + threadIdx.x % 4; at < stride; at += 4) y[(size_t)(first_c + column) * stride + at] = bf16{0};
}
