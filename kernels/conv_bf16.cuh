// Convolutions as implicit matrix products (implicit GEMM) on the tensor cores: bf16 operands, f32 accumulators.
//
// A block of four warps computes a tile of BM rows and BN columns of a product, in steps of BK along the depth (the dimension that is
// summed over). cp.async copies both operands to shared memory, 16 bytes at a time and STAGES - 1 steps ahead; ldmatrix loads them from
// there for mma. conv_wgmma.cuh has another main loop, with the same code after it (column_moments, store).
//
//   kernel  rows            columns      depth
//   fprop   output pixels   k            r, s, c    unfolded images · rows of the weights
//   wgrad   k               r, s, c      pixels     dy, transposed  · unfolded images
//
// dgrad is fprop of dy with flipped weights (cast.cu). Images are unfolded (im2col) in shared memory only. The order of every sum depends
// on the shapes alone.
#pragma once
#include "conv_parameters.cuh"
#include "odometer.cuh"
#include "ptx.cuh"

// A kernel file whose blocks multiply with more threads, or have fewer stages, defines these before it includes this file.
#ifndef CONV_THREADS
#define CONV_THREADS 128
#endif
#ifndef CONV_STAGES
#define CONV_STAGES 4
#endif
constexpr int THREADS = CONV_THREADS, WARPS = THREADS / 32;
// Depth between two barriers.
constexpr int BK = 32;
constexpr int STAGES = CONV_STAGES;
// Elements of a chunk: the 16 bytes that a thread copies at a time, and one row of a matrix for ldmatrix.
constexpr int CHUNK = 8;

// The shape of a block's work: a tile of BM_ · BN_, of which each warp computes WM · WN.
template <int BM_, int BN_, int WM, int WN>
struct Tile {
  static constexpr int BM = BM_, BN = BN_;
  // A warp has MI by NI mma tiles of 16 rows and 8 columns.
  static constexpr int MI = WM / 16, NI = WN / 8;
  static_assert(BM / WM * (BN / WN) == WARPS && BM % WM == 0 && BN % WN == 0, "the warps cover the tile");
  static_assert(WM % 16 == 0 && WN % 16 == 0, "a warp loads 16 rows or columns at a time");

  // First row and column of this thread's warp.
  static __device__ __forceinline__ int row() { return threadIdx.x / 32 / (BN / WN) * WM; }
  static __device__ __forceinline__ int column() { return threadIdx.x / 32 % (BN / WN) * WN; }
};

// Rows of CHUNKS · 16 bytes in shared memory, swizzled: the chunks of a row are permuted so that the same chunk of eight neighbouring rows,
// and the chunks of one row, lie in different banks. Neither copies nor ldmatrix have bank conflicts.
template <int ROWS, int CHUNKS>
struct Swizzled {
  static_assert((CHUNKS & (CHUNKS - 1)) == 0, "chunks are swapped by exclusive or");
  uint4 chunks[ROWS * CHUNKS];

  __device__ __forceinline__ uint4* at(int row, int chunk) {
    const int swap = CHUNKS >= 8 ? row & 7 : row / (8 / CHUNKS) & (CHUNKS - 1);
    return chunks + (row * CHUNKS + (chunk ^ swap));
  }

  // The chunks that a thread copies: the same chunk of HELD rows, STRIDE apart.
  static constexpr int STRIDE = THREADS / CHUNKS < ROWS ? THREADS / CHUNKS : ROWS, HELD = ROWS / STRIDE;
  static_assert(THREADS % CHUNKS == 0 && ROWS % STRIDE == 0, "threads share the rows evenly");
  // Whether this thread copies anything: small arrays need fewer threads.
  static __device__ __forceinline__ bool active() { return THREADS <= STRIDE * CHUNKS || (int)threadIdx.x < STRIDE * CHUNKS; }
  static __device__ __forceinline__ int row(int held) { return threadIdx.x / CHUNKS + held * STRIDE; }
  static __device__ __forceinline__ int chunk() { return threadIdx.x % CHUNKS; }
};

// One step of a K-major operand, contiguous along the depth: a row for each of WIDTH rows or columns of the product.
template <int WIDTH>
struct KMajor : Swizzled<WIDTH, BK / CHUNK> {
  // Operand a of mma: 16 rows of the product at 16 depths.
  __device__ __forceinline__ void load_rows(unsigned (&r)[4], int row, int depth) {
    const int lane = threadIdx.x % 32;
    ldmatrix_x4(r, this->at(row + lane % 16, depth / CHUNK + lane / 16));
  }

  // Operands b of two mma: 16 columns of the product at 16 depths.
  __device__ __forceinline__ void load_columns(unsigned (&r)[4], int column, int depth) {
    const int lane = threadIdx.x % 32;
    ldmatrix_x4(r, this->at(column + lane / 16 * 8 + lane % 8, depth / CHUNK + lane / 8 % 2));
  }
};

// One step of an MN-major operand, contiguous along the rows or columns of the product: a row for each depth.
template <int WIDTH>
struct MnMajor : Swizzled<BK, WIDTH / CHUNK> {
  __device__ __forceinline__ void load_rows(unsigned (&r)[4], int row, int depth) {
    const int lane = threadIdx.x % 32;
    ldmatrix_x4_trans(r, this->at(depth + lane / 16 * 8 + lane % 8, row / CHUNK + lane / 8 % 2));
  }

  __device__ __forceinline__ void load_columns(unsigned (&r)[4], int column, int depth) {
    const int lane = threadIdx.x % 32;
    ldmatrix_x4_trans(r, this->at(depth + lane % 16, column / CHUNK + lane / 16));
  }
};

// Both operands of one step.
template <class A, class B>
struct Stage {
  typename A::Part a;
  typename B::Part b;
};

// sum = a · b over the depth, in `steps` steps. An operand's load() starts the copies of its next step.
template <class T, class A, class B>
__device__ __forceinline__ void multiply(Stage<A, B>* stages, A& a, B& b, int steps, float (&sum)[T::MI][T::NI][4]) {
#pragma unroll
  for (int i = 0; i < T::MI; i++)
#pragma unroll
    for (int j = 0; j < T::NI; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) sum[i][j][e] = 0.0f;
#pragma unroll 1
  for (int step = 0; step < STAGES - 1; step++) {
    if (step < steps) {
      a.load(stages[step].a);
      b.load(stages[step].b);
    }
    cp_async_commit();
  }
  int now = 0, spare = STAGES - 1;
  for (int step = 0; step < steps; step++) {
    cp_async_wait<STAGES - 2>();
    // After this barrier every thread's copies of this step have arrived, and nobody reads the stage that is filled next.
    __syncthreads();
    Stage<A, B>& stage = stages[now];
#pragma unroll
    for (int depth = 0; depth < BK; depth += 16) {
      unsigned rows[T::MI][4], columns[T::NI][2];
#pragma unroll
      for (int i = 0; i < T::MI; i++) stage.a.load_rows(rows[i], T::row() + 16 * i, depth);
#pragma unroll
      for (int j = 0; j < T::NI; j += 2) {
        unsigned pair[4];
        stage.b.load_columns(pair, T::column() + 8 * j, depth);
        columns[j][0] = pair[0], columns[j][1] = pair[1];
        columns[j + 1][0] = pair[2], columns[j + 1][1] = pair[3];
      }
      if (depth == 0) {
        // Here, so that the copies are issued while ldmatrix is in flight.
        if (step + STAGES - 1 < steps) {
          a.load(stages[spare].a);
          b.load(stages[spare].b);
        }
        cp_async_commit();
      }
#pragma unroll
      for (int i = 0; i < T::MI; i++)
#pragma unroll
        for (int j = 0; j < T::NI; j++) mma_bf16_16816(sum[i][j], rows[i], columns[j]);
    }
    spare = now;
    now = now + 1 == STAGES ? 0 : now + 1;
  }
}

// The im2col matrix of images [·, h, w, c]: a row for each window, of which (i, j) is the first pixel, with the index `pixel` among those
// of all images; a column for each tap (channel, s, r, in the order of the odometer). Zeros outside the images and after the last tap.
//   PACKED  any c, the taps are gathered one by one; else c is a multiple of 8 and the images are aligned to 16 bytes
template <bool PACKED>
struct Unfolded {
  // `i` of a row that has no window.
  static constexpr int NOWHERE = -(1 << 30);
  const bf16* __restrict__ images;
  int h, w, c, side;

  __device__ __forceinline__ bool inside(int i, int j, const Odometer& tap) const {
    return tap.z < side && (unsigned)(i + tap.z) < (unsigned)h && (unsigned)(j + tap.y) < (unsigned)w;
  }

  __device__ __forceinline__ const bf16* element(int pixel, const Odometer& tap) const {
    return images + ((long long)(pixel + tap.z * w + tap.y) * c + tap.x);
  }

  // Copies eight neighbouring taps of a window.
  __device__ __forceinline__ void copy(uint4* shared, int i, int j, int pixel, Odometer tap) const {
    if (PACKED) {
      unsigned pairs[4];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const unsigned lo = inside(i, j, tap) ? element(pixel, tap)->bits : 0;
        tap.next();
        const unsigned hi = inside(i, j, tap) ? element(pixel, tap)->bits : 0;
        tap.next();
        pairs[e] = lo | hi << 16;
      }
      *shared = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    } else {
      cp_async16(shared, element(pixel, tap), inside(i, j, tap));
    }
  }
};

// Stores two neighbouring elements of a row at p.
static __device__ __forceinline__ void put_pair(bf16* p, float a, float b) { *reinterpret_cast<unsigned*>(p) = pack_bf16(a, b); }
static __device__ __forceinline__ void put_pair(float* p, float a, float b) { *reinterpret_cast<float2*>(p) = make_float2(a, b); }

// Mean and M2 = Σ (value − mean)² of each column of the tile that starts at (first_row, first_column), over its rows below `rows` and
// before any rounding: parts [tiles along the rows][2][columns], for norm_stats_merge.
template <class T, class Stage>
__device__ __forceinline__ void column_moments(Stage* stages, const float (&sum)[T::MI][T::NI][4], float* __restrict__ parts,
                                               int first_row, int first_column, int rows, int columns) {
  // Warps that share columns.
  constexpr int SHARES = T::BM / (16 * T::MI);
  float(*shared)[SHARES][T::BN] = reinterpret_cast<float(*)[SHARES][T::BN]>(stages);
  static_assert(2 * SHARES * T::BN * sizeof(float) <= sizeof(Stage) * STAGES, "the stages have room for the sums");
  const int lane = threadIdx.x % 32, share = T::row() / (16 * T::MI);
  const float count = (float)min(T::BM, rows - first_row);
  // Other warps may still read the last operands.
  __syncthreads();
#pragma unroll
  for (int moment = 0; moment < 2; moment++) {
#pragma unroll
    for (int j = 0; j < T::NI; j++)
#pragma unroll
      for (int side = 0; side < 2; side++) {
        const int column = T::column() + 8 * j + lane % 4 * 2 + side;
        float mean = 0.0f, total = 0.0f;
        if (moment == 1) {
#pragma unroll
          for (int s = 0; s < SHARES; s++) mean += shared[0][s][column];
          mean /= count;
        }
#pragma unroll
        for (int i = 0; i < T::MI; i++)
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const float value = sum[i][j][2 * half + side] - mean;
            const bool live = first_row + T::row() + 16 * i + 8 * half + lane / 4 < rows;
            total += !live ? 0.0f : moment == 0 ? value : value * value;
          }
#pragma unroll
        for (int distance = 4; distance < 32; distance *= 2) total += __shfl_xor_sync(0xffffffffu, total, distance);
        if (lane / 4 == 0) shared[moment][share][column] = total;
      }
    __syncthreads();
  }
  parts += (size_t)(first_row / T::BM) * 2 * columns + first_column;
  for (int at = threadIdx.x; at < 2 * T::BN; at += THREADS) {
    const int moment = at / T::BN, column = at % T::BN;
    float total = 0.0f;
#pragma unroll
    for (int s = 0; s < SHARES; s++) total += shared[moment][s][column];
    if (first_column + column < columns) parts[(size_t)moment * columns + column] = moment == 0 ? total / count : total;
  }
}

// Writes the tile that starts at (first_row, first_column) of out [rows, columns]: through the shared memory of the stages, so that whole
// rows are stored, 16 bytes at a time where rows are aligned to 16 bytes. The epilogue is applied before the rounding to Out.
template <class T, class After, class Out, class Stage>
__device__ __forceinline__ void store(Stage* stages, const float (&sum)[T::MI][T::NI][4], const After& epilogue,
                                      Out* __restrict__ out, int first_row, int first_column, int rows, int columns) {
  constexpr int PER_CHUNK = 16 / sizeof(Out), CHUNKS = T::BN / PER_CHUNK;
  using Results = Swizzled<T::BM, CHUNKS>;
  static_assert(sizeof(Results) <= sizeof(Stage) * STAGES, "the stages have room for the results");
  Results& results = *reinterpret_cast<Results*>(stages);
  const int lane = threadIdx.x % 32;
  // Other warps may still read the last operands.
  __syncthreads();
#pragma unroll
  for (int j = 0; j < T::NI; j++) {
    const int column = T::column() + 8 * j + lane % 4 * 2, at = first_column + column;
    const typename After::Channel lo = epilogue.of(at, columns), hi = epilogue.of(at + 1, columns);
#pragma unroll
    for (int i = 0; i < T::MI; i++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        Out* chunk = reinterpret_cast<Out*>(results.at(T::row() + 16 * i + 8 * half + lane / 4, column / PER_CHUNK));
        put_pair(chunk + column % PER_CHUNK, epilogue(sum[i][j][2 * half], lo), epilogue(sum[i][j][2 * half + 1], hi));
      }
  }
  __syncthreads();
  if (columns % PER_CHUNK == 0 && reinterpret_cast<size_t>(out) % sizeof(uint4) == 0) {
    const int column = first_column + Results::chunk() * PER_CHUNK;
    if (!Results::active() || column >= columns) return;
#pragma unroll 4
    for (int held = 0; held < Results::HELD; held++) {
      const int row = first_row + Results::row(held);
      uint4* place = reinterpret_cast<uint4*>(out + ((size_t)row * columns + column));
      if (row < rows) *place = *results.at(Results::row(held), Results::chunk());
    }
  } else {
#pragma unroll 1
    for (int at = threadIdx.x; at < T::BM * T::BN; at += THREADS) {
      const int row = at / T::BN, column = at % T::BN;
      const Out* chunk = reinterpret_cast<const Out*>(results.at(row, column / PER_CHUNK));
      if (first_row + row < rows && first_column + column < columns)
        out[(size_t)(first_row + row) * columns + first_column + column] = chunk[column % PER_CHUNK];
    }
  }
}
