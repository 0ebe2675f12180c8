// V neighbouring numbers of a row, as floats: one access of 16 bytes, or of a single number. For V > 1 rows are aligned to 16 bytes.
#pragma once
#include "ptx.cuh"

template <int V>
struct Floats {
  float v[V];
};

static __device__ __forceinline__ Floats<1> load(const float* p, Floats<1>) { return {{*p}}; }
static __device__ __forceinline__ Floats<1> load(const bf16* p, Floats<1>) { return {{to_float(*p)}}; }
static __device__ __forceinline__ Floats<4> load(const float* p, Floats<4>) {
  const float4 quad = *reinterpret_cast<const float4*>(p);
  return {{quad.x, quad.y, quad.z, quad.w}};
}
static __device__ __forceinline__ Floats<8> load(const bf16* p, Floats<8>) {
  const uint4 chunk = *reinterpret_cast<const uint4*>(p);
  return {{low_to_float(chunk.x), high_to_float(chunk.x), low_to_float(chunk.y), high_to_float(chunk.y), low_to_float(chunk.z),
           high_to_float(chunk.z), low_to_float(chunk.w), high_to_float(chunk.w)}};
}
// load<V>(p): the V numbers from p on.
template <int V, class T>
static __device__ __forceinline__ Floats<V> load(const T* p) {
  return load(p, Floats<V>{});
}

static __device__ __forceinline__ void store(float* p, const Floats<1>& f) { *p = f.v[0]; }
static __device__ __forceinline__ void store(bf16* p, const Floats<1>& f) { *p = to_bf16(f.v[0]); }
static __device__ __forceinline__ void store(float* p, const Floats<4>& f) {
  *reinterpret_cast<float4*>(p) = make_float4(f.v[0], f.v[1], f.v[2], f.v[3]);
}
static __device__ __forceinline__ void store(bf16* p, const Floats<8>& f) {
  *reinterpret_cast<uint4*>(p) = make_uint4(pack_bf16(f.v[0], f.v[1]), pack_bf16(f.v[2], f.v[3]), pack_bf16(f.v[4], f.v[5]),
                                            pack_bf16(f.v[6], f.v[7]));
}

// V neighbouring bytes.
template <int V>
struct Bytes {
  unsigned char v[V];
};

static __device__ __forceinline__ Bytes<1> load_bytes(const unsigned char* p, Bytes<1>) { return {{*p}}; }
static __device__ __forceinline__ Bytes<4> load_bytes(const unsigned char* p, Bytes<4>) {
  const unsigned word = *reinterpret_cast<const unsigned*>(p);
  Bytes<4> bytes;
#pragma unroll
  for (int i = 0; i < 4; i++) bytes.v[i] = (unsigned char)(word >> 8 * i);
  return bytes;
}
static __device__ __forceinline__ Bytes<8> load_bytes(const unsigned char* p, Bytes<8>) {
  const uint2 words = *reinterpret_cast<const uint2*>(p);
  Bytes<8> bytes;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    bytes.v[i] = (unsigned char)(words.x >> 8 * i);
    bytes.v[4 + i] = (unsigned char)(words.y >> 8 * i);
  }
  return bytes;
}
template <int V>
static __device__ __forceinline__ Bytes<V> load_bytes(const unsigned char* p) {
  return load_bytes(p, Bytes<V>{});
}

static __device__ __forceinline__ void store_bytes(unsigned char* p, const Bytes<1>& b) { *p = b.v[0]; }
static __device__ __forceinline__ unsigned word_of(const unsigned char* b) {
  return (unsigned)b[0] | (unsigned)b[1] << 8 | (unsigned)b[2] << 16 | (unsigned)b[3] << 24;
}
static __device__ __forceinline__ void store_bytes(unsigned char* p, const Bytes<4>& b) {
  *reinterpret_cast<unsigned*>(p) = word_of(b.v);
}
static __device__ __forceinline__ void store_bytes(unsigned char* p, const Bytes<8>& b) {
  *reinterpret_cast<uint2*>(p) = make_uint2(word_of(b.v), word_of(b.v + 4));
}

// A walk over the pixels of a tile of [pixels, c]: `lanes` threads of a block share a pixel, each with V channels; the block's rows of such
// threads take the pixels in turn. Grid (tiles of TILE pixels, ⌈c / V / lanes⌉).
template <int V, int THREADS, int TILE>
struct Walk {
  int channel, row, rows, first, last;
  bool live;

  __device__ __forceinline__ Walk(int pixels, int c, int lanes)
      : channel((blockIdx.y * lanes + threadIdx.x % lanes) * V), row(threadIdx.x / lanes), rows(THREADS / lanes),
        first(blockIdx.x * TILE), last(min((int)blockIdx.x * TILE + TILE, pixels)), live(channel < c) {}
};

// Sums over the threads of a block with the same threadIdx.x % lanes (a power of two), by halving; each of them gets its sum. `parts` holds
// V values per thread in shared memory.
template <int V>
static __device__ __forceinline__ Floats<V> column_sums(const Floats<V>& value, Floats<V>* parts, int lanes) {
  __syncthreads();  // a former sum may still be read
  parts[threadIdx.x] = value;
  for (int offset = blockDim.x / 2; offset >= lanes; offset /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < offset) {
#pragma unroll
      for (int i = 0; i < V; i++) parts[threadIdx.x].v[i] += parts[threadIdx.x + offset].v[i];
    }
  }
  __syncthreads();
  return parts[threadIdx.x % lanes];
}
