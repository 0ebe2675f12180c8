// What the generated code is checked with; expected.rs is what comes out.
#include "portable.cuh"

constexpr int THREADS = 256, TILE = 8;
enum { FIRST, SECOND = 4, THIRD };
enum class Way { NONE, PAD_CROP = 3, FLIP };

struct Shape {
  int n, type;
  Way way;
};

template <class T>
struct SumParameters {
  const T *a, *b;
  T* y;
  float slope;
  Shape shape;
  unsigned long long seed;
};

struct MapParameters {
  CUtensorMap map;
  unsigned char* argmax;
};

template <class T, int V>
__device__ __forceinline__ void sum(const SumParameters<T>& given) {
  given.y[0] = given.a[0];
}

KERNEL(sum_f32x4, SumParameters<float>, (THREADS, 2), sum<float, 4>)
KERNEL(sum_bf16x8, SumParameters<bf16>, (2 * 64), sum<bf16, 8>)
KERNEL(shapes, Shape, (64), [](const Shape&) {})
KERNEL(maps, const __grid_constant__ MapParameters, (32), SINCE_SM_80(copied))
