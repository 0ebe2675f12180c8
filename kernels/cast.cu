// f32 to bf16, rounded to nearest even, in the forms that the tensor-core convolutions read.
#include "vector.cuh"

struct CastParameters {
  const float* x;
  bf16* y;
  long long length;
};

// y[i] = x[i].
//
// Launch: ⌈length / 2048⌉ blocks in x, 256 threads of eight elements each. x and y are aligned to 16 bytes. No shared memory. Bound: bytes,
// 6 per element.
static __device__ __forceinline__ void cast_all(const CastParameters& given) {
  kernels_before();
  const long long first = (blockIdx.x * 256ll + threadIdx.x) * 8;
  if (first >= given.length) return;
  if (given.length - first >= 8) {
    const Floats<4> low = load<4>(given.x + first), high = load<4>(given.x + first + 4);
    store(given.y + first, Floats<8>{{low.v[0], low.v[1], low.v[2], low.v[3], high.v[0], high.v[1], high.v[2], high.v[3]}});
  } else {
    for (long long i = first; i < given.length; i++) given.y[i] = to_bf16(given.x[i]);
  }
}
KERNEL(cast, CastParameters, (256), cast_all)

// A layer's weights [k, taps, c] at `source`, to be rounded to rows of `stride` elements (a multiple of 8) at `target` (a multiple of 8),
// with zeros at the end of each row:
//   krsc     [k][taps, c], for fprop
//   flipped  [c][taps from the last to the first, k], for dgrad, which is fprop of dy with these weights
// Blocks from `first_block` on work on it: krsc ⌈k · stride / 1024⌉, flipped ⌈k / 32⌉ · ⌈c / 32⌉ · taps.
struct Layer {
  int first_block, flipped, source, target, k, taps, c, stride;
};

static __device__ __forceinline__ void krsc(const float* __restrict__ x, bf16* __restrict__ y, const Layer& layer, int block) {
  const int length = layer.taps * layer.c, at = (block * 128 + threadIdx.x) * 8;
  const int row = at / layer.stride, column = at % layer.stride;
  if (row >= layer.k) return;
  Floats<8> chunk;
#pragma unroll
  for (int i = 0; i < 8; i++) chunk.v[i] = column + i < length ? x[(size_t)row * length + column + i] : 0.0f;
  store(y + at, chunk);
}

static __device__ __forceinline__ void flipped(const float* __restrict__ x, bf16* __restrict__ y, const Layer& layer, int block,
                                               float (*tile)[33]) {
  const int k = layer.k, c = layer.c, taps = layer.taps, across = (k + 31) / 32;
  const int first_k = block % across * 32, first_c = block / across / taps * 32, tap = block / across % taps;
#pragma unroll
  for (int row = threadIdx.x / 32; row < 32; row += 4) {
    const int at_k = first_k + row, at_c = first_c + threadIdx.x % 32;
    tile[row][threadIdx.x % 32] = at_k < k && at_c < c ? x[((size_t)at_k * taps + tap) * c + at_c] : 0.0f;
  }
  __syncthreads();
  const int column = threadIdx.x / 4, row = threadIdx.x % 4 * 8;
  if (first_c + column >= c) return;
  bf16* line = y + (size_t)(first_c + column) * layer.stride;
  bf16* out = line + ((taps - 1 - tap) * k + first_k + row);
  // Where k is a multiple of 8, eight elements are stored at once.
  if (k % 8 == 0) {
    if (first_k + row >= k) return;
    Floats<8> chunk;
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.v[i] = tile[row + i][column];
    store(out, chunk);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; i++)
    if (first_k + row + i < k) out[i] = to_bf16(tile[row + i][column]);
  // The block that writes the end of a row also writes the zeros after it.
  if (tap == 0 && first_k + 32 >= k)
    for (int at = taps * k + threadIdx.x % 4; at < layer.stride; at += 4) line[at] = bf16{0};
}

struct CastWeightsParameters {
  const float* x;
  bf16* y;
  const int* table;
  int layers;
};

// Rounds the weights of all layers at once: from the parameters x to y, as the `layers` entries of `table` (Layer) say.
//
// Launch: as many blocks in x as the layers need, 128 threads. Shared memory, static: 4.1 KiB. y is aligned to 16 bytes. Bound: bytes, 6
// per element.
static __device__ __forceinline__ void cast_layers(const CastWeightsParameters& given) {
  kernels_before();
  __shared__ float tile[32][33];
  const Layer* list = reinterpret_cast<const Layer*>(given.table);
  int at = 0;
  while (at + 1 < given.layers && list[at + 1].first_block <= (int)blockIdx.x) at++;
  const Layer layer = list[at];
  const int block = blockIdx.x - layer.first_block;
  if (layer.flipped)
    flipped(given.x + layer.source, given.y + layer.target, layer, block, tile);
  else
    krsc(given.x + layer.source, given.y + layer.target, layer, block);
}
KERNEL(cast_weights, CastWeightsParameters, (128), cast_layers)
