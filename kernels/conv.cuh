// Convolutions as implicit matrix products (implicit GEMM) in f32: one main loop, and the operands that it multiplies.
//
// A block computes a tile of BM rows and BN columns of a product, in steps of BK along the depth (the dimension that is summed over).
// Both operands go through shared memory, depth-major and double-buffered: while one step's operands are multiplied, the next step's are
// loaded from global memory to registers. The operands of each pass of a convolution:
//
//   pass    rows                columns       depth
//   fprop   output pixels       k             r, s, c      windows of x     · rows of the weights
//   dgrad   input pixels        c             r, s, k      windows of dy    · columns of the weights
//   wgrad   k                   r, s, c       pixels       dy, transposed   · windows of x, transposed
//
// No im2col matrix is written to global memory, and the order of every sum depends on the shapes alone.
#pragma once
#include "odometer.cuh"

// Depth between two barriers.
constexpr int BK = 8;
// Elements added to each row in shared memory, so that storing a transposed operand has no bank conflicts.
constexpr int SHARED_PAD = 4;

// The shape of a block's work: a tile of BM_ · BN_, of which each thread sums TM_ · TN_ in groups of four neighbours.
template <int BM_, int BN_, int TM_, int TN_>
struct Tile {
  static constexpr int BM = BM_, BN = BN_, TM = TM_, TN = TN_;
  static constexpr int THREADS_M = BM / TM, THREADS_N = BN / TN, THREADS = THREADS_M * THREADS_N;
  // A warp covers a part of the tile that is as square as possible, so that its lanes read few different addresses of shared memory.
  static constexpr int LANES_M = THREADS_M < 4 ? THREADS_M : THREADS_N < 8 ? 32 / THREADS_N : 4;
  static constexpr int LANES_N = 32 / LANES_M;
  static constexpr int WARPS_N = THREADS_N / LANES_N;
  static_assert(TM % 4 == 0 && TN % 4 == 0 && THREADS % 32 == 0 && THREADS_N % LANES_N == 0, "a tile is cut into warps");

  // First of the four rows of this thread's group.
  static __device__ __forceinline__ int row(int group) {
    const int thread = threadIdx.x / 32 / WARPS_N * LANES_M + threadIdx.x % 32 / LANES_N;
    return (group * THREADS_M + thread) * 4;
  }

  // First of the four columns of this thread's group.
  static __device__ __forceinline__ int column(int group) {
    const int thread = threadIdx.x / 32 % WARPS_N * LANES_N + threadIdx.x % LANES_N;
    return (group * THREADS_N + thread) * 4;
  }
};

template <int WIDTH>
using Slab = float[BK][WIDTH + SHARED_PAD];

// Both operands of one step in shared memory.
template <class T>
struct __align__(16) Buffers {
  Slab<T::BM> a;
  Slab<T::BN> b;
};

// sum[i][j] = Σ a[·][row i] · b[·][column j] over the depth, in `steps` steps.
template <class T, class A, class B>
__device__ __forceinline__ void multiply(A& a, B& b, int steps, float (&sum)[T::TM][T::TN]) {
  __shared__ Buffers<T> buffers[2];
#pragma unroll
  for (int i = 0; i < T::TM; i++)
#pragma unroll
    for (int j = 0; j < T::TN; j++) sum[i][j] = 0.0f;
  if (steps <= 0) return;
  a.load();
  b.load();
  a.store(buffers[0].a);
  b.store(buffers[0].b);
  __syncthreads();
  for (int step = 0; step < steps; step++) {
    const bool more = step + 1 < steps;
    if (more) {
      a.load();
      b.load();
    }
    const Buffers<T>& now = buffers[step & 1];
#pragma unroll
    for (int d = 0; d < BK; d++) {
      float x[T::TM], y[T::TN];
#pragma unroll
      for (int g = 0; g < T::TM / 4; g++) {
        const float4 v = *reinterpret_cast<const float4*>(&now.a[d][T::row(g)]);
        x[4 * g] = v.x, x[4 * g + 1] = v.y, x[4 * g + 2] = v.z, x[4 * g + 3] = v.w;
      }
#pragma unroll
      for (int g = 0; g < T::TN / 4; g++) {
        const float4 v = *reinterpret_cast<const float4*>(&now.b[d][T::column(g)]);
        y[4 * g] = v.x, y[4 * g + 1] = v.y, y[4 * g + 2] = v.z, y[4 * g + 3] = v.w;
      }
#pragma unroll
      for (int i = 0; i < T::TM; i++)
#pragma unroll
        for (int j = 0; j < T::TN; j++) sum[i][j] = fmaf(x[i], y[j], sum[i][j]);
    }
    if (more) {
      // Nobody reads the other buffer any more: its last reads came before the previous barrier.
      Buffers<T>& next = buffers[(step + 1) & 1];
      a.store(next.a);
      b.store(next.b);
      __syncthreads();
    }
  }
}

// Mean and M2 = Σ (value − mean)² of each column of the tile that starts at (first_row, first_column), over its rows below `rows`:
// parts [tiles along the rows][2][columns], for norm_stats_merge. The order of every sum depends on the tile alone.
template <class T>
__device__ __forceinline__ void column_moments(const float (&sum)[T::TM][T::TN], float* __restrict__ parts, int first_row, int first_column,
                                               int rows, int columns) {
  // Warps that share columns.
  constexpr int SHARES = T::THREADS_M / T::LANES_M;
  __shared__ float shares[SHARES][T::BN], means[T::BN];
  const int live = min(T::BM, rows - first_row);
  parts += (size_t)(first_row / T::BM) * 2 * columns + first_column;
#pragma unroll
  for (int moment = 0; moment < 2; moment++) {
#pragma unroll
    for (int j = 0; j < T::TN; j++) {
      const int column = T::column(j / 4) + j % 4;
      const float mean = moment == 0 ? 0.0f : means[column];
      float total = 0.0f;
#pragma unroll
      for (int i = 0; i < T::TM; i++) {
        const float value = sum[i][j] - mean;
        total += T::row(i / 4) + i % 4 >= live ? 0.0f : moment == 0 ? value : value * value;
      }
#pragma unroll
      for (int distance = T::LANES_N; distance < 32; distance *= 2) total += __shfl_xor_sync(0xffffffffu, total, distance);
      if (threadIdx.x % 32 < T::LANES_N) shares[T::row(0) / 4 / T::LANES_M][column] = total;
    }
    __syncthreads();
    for (int column = threadIdx.x; column < T::BN; column += T::THREADS) {
      float total = 0.0f;
      for (int share = 0; share < SHARES; share++) total += shares[share][column];
      if (moment == 0) total = means[column] = total / (float)live;
      if (first_column + column < columns) parts[(size_t)moment * columns + column] = total;
    }
    __syncthreads();
  }
}

// Whether rows of that length, starting at p, can be read four elements at a time.
__device__ __forceinline__ bool in_quads(const float* p, int length) {
  return reinterpret_cast<size_t>(p) % sizeof(float4) == 0 && length % 4 == 0;
}

// Four neighbours of which the first `count` exist (any number); the others are 0. With `quads`, either all or none of them exist.
__device__ __forceinline__ float4 load_quad(const float* __restrict__ p, int count, bool quads) {
  float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (quads) {
    if (count > 0) v = __ldg(reinterpret_cast<const float4*>(p));
  } else {
    if (count > 0) v.x = __ldg(p + 0);
    if (count > 1) v.y = __ldg(p + 1);
    if (count > 2) v.z = __ldg(p + 2);
    if (count > 3) v.w = __ldg(p + 3);
  }
  return v;
}

// The inverse of load_quad.
__device__ __forceinline__ void store_quad(float* p, float4 v, int count, bool quads) {
  if (quads) {
    if (count > 0) *reinterpret_cast<float4*>(p) = v;
  } else {
    if (count > 0) p[0] = v.x;
    if (count > 1) p[1] = v.y;
    if (count > 2) p[2] = v.z;
    if (count > 3) p[3] = v.w;
  }
}

// A K-major operand, contiguous along the depth: a thread loads four depths of each of its rows and transposes them into shared memory.
// The two threads of a row read 32 neighbouring bytes.
template <class T, int WIDTH>
struct KMajor {
  static constexpr int QUADS = BK / 4, STRIDE = T::THREADS / QUADS;
  static constexpr int HELD = WIDTH > STRIDE ? WIDTH / STRIDE : 1;
  static_assert(WIDTH < STRIDE || WIDTH % STRIDE == 0, "threads share the rows evenly");
  float4 held[HELD];

  // Whether this thread loads anything: narrow operands need fewer threads.
  static __device__ __forceinline__ bool active() { return WIDTH >= STRIDE || (int)threadIdx.x < WIDTH * QUADS; }
  static __device__ __forceinline__ int row(int i) { return threadIdx.x / QUADS + i * STRIDE; }
  static __device__ __forceinline__ int depth() { return threadIdx.x % QUADS * 4; }

  __device__ __forceinline__ void store(Slab<WIDTH>& slab) const {
    if (!active()) return;
#pragma unroll
    for (int i = 0; i < HELD; i++) {
      slab[depth()][row(i)] = held[i].x;
      slab[depth() + 1][row(i)] = held[i].y;
      slab[depth() + 2][row(i)] = held[i].z;
      slab[depth() + 3][row(i)] = held[i].w;
    }
  }
};

// An MN-major operand, contiguous along its rows: a thread loads four neighbouring rows at each of its depths.
template <class T, int WIDTH>
struct MnMajor {
  static constexpr int QUADS = WIDTH / 4, STRIDE = T::THREADS / QUADS < BK ? T::THREADS / QUADS : BK;
  static constexpr int HELD = BK / STRIDE;
  static_assert(BK % STRIDE == 0, "threads share the depth evenly");
  float4 held[HELD];

  static __device__ __forceinline__ bool active() { return (int)threadIdx.x < QUADS * STRIDE; }
  static __device__ __forceinline__ int row() { return threadIdx.x % QUADS * 4; }
  static __device__ __forceinline__ int depth(int i) { return threadIdx.x / QUADS + i * STRIDE; }

  __device__ __forceinline__ void store(Slab<WIDTH>& slab) const {
    if (!active()) return;
#pragma unroll
    for (int i = 0; i < HELD; i++) *reinterpret_cast<float4*>(&slab[depth(i)][row()]) = held[i];
  }
};

// Rows of the im2col matrix of images [·, h, w, c]: at depth (r, s, channel), the row of output (n, p, q) is the element
// (n, p·scale + first_i + DIR·r, q·scale + first_j + DIR·s, channel), and 0 outside the image. With QUADS_READ, c is a multiple of four and
// the images are aligned to 16 bytes: four depths are one load; otherwise each element is loaded by itself.
template <class T, bool QUADS_READ, int DIR>
struct Windows : KMajor<T, T::BM> {
  using Base = KMajor<T, T::BM>;
  const float* __restrict__ images;
  int h, w, c, window_rows;
  Odometer at;  // channel, s, r
  int i[Base::HELD], j[Base::HELD], pixel[Base::HELD];

  __device__ __forceinline__ Windows(const float* images_, int h_, int w_, int c_, int window_rows_, int window_columns)
      : images(images_), h(h_), w(w_), c(c_), window_rows(window_rows_), at(Base::depth(), BK, c_, max(window_columns, 1)) {}

  // Sets the rows to those of the tile that starts at output `first` of outputs [·, p, q], `outputs` in all.
  __device__ __forceinline__ void rows(int first, int outputs, int p, int q, int scale, int first_i, int first_j) {
#pragma unroll
    for (int l = 0; l < Base::HELD; l++) {
      const int output = first + Base::row(l);
      const int image = output / q / p;
      // Rows past the last output are placed outside every image, so that they read zeros.
      i[l] = output < outputs ? output / q % p * scale + first_i : -(1 << 30);
      j[l] = output % q * scale + first_j;
      pixel[l] = output < outputs ? (image * h + i[l]) * w + j[l] : 0;
    }
  }

  __device__ __forceinline__ bool inside(int l, const Odometer& d) const {
    return d.z < window_rows && (unsigned)(i[l] + DIR * d.z) < (unsigned)h && (unsigned)(j[l] + DIR * d.y) < (unsigned)w;
  }

  __device__ __forceinline__ const float* element(int l, const Odometer& d) const {
    return images + ((long long)(pixel[l] + DIR * (d.z * w + d.y)) * c + d.x);
  }

  __device__ __forceinline__ float single(int l, const Odometer& d) const { return inside(l, d) ? __ldg(element(l, d)) : 0.0f; }

  __device__ __forceinline__ void load() {
    if (QUADS_READ) {
#pragma unroll
      for (int l = 0; l < Base::HELD; l++) {
        const bool exists = inside(l, at);
        this->held[l] = exists ? __ldg(reinterpret_cast<const float4*>(element(l, at))) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      }
    } else {
      Odometer d = at;
#pragma unroll
      for (int l = 0; l < Base::HELD; l++) this->held[l].x = single(l, d);
      d.next();
#pragma unroll
      for (int l = 0; l < Base::HELD; l++) this->held[l].y = single(l, d);
      d.next();
#pragma unroll
      for (int l = 0; l < Base::HELD; l++) this->held[l].z = single(l, d);
      d.next();
#pragma unroll
      for (int l = 0; l < Base::HELD; l++) this->held[l].w = single(l, d);
    }
    at.advance();
  }
};
