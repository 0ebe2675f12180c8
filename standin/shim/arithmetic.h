// Mathematical functions, conversions and bit operations of CUDA C++.
//
// The same bits as on a GPU: float + - * /, sqrtf, fmaf, min and max, conversions, integers. Close, but with other bits: expf, logf,
// expm1f and the other functions that each library approximates in its own way, and all fast-math functions.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

__forceinline__ float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
__forceinline__ unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
__forceinline__ float __int_as_float(int i) { float f; memcpy(&f, &i, 4); return f; }
__forceinline__ int __float_as_int(float f) { int i; memcpy(&i, &f, 4); return i; }
__forceinline__ double __longlong_as_double(long long i) { double d; memcpy(&d, &i, 8); return d; }
__forceinline__ long long __double_as_longlong(double d) { long long i; memcpy(&i, &d, 8); return i; }

// Float to integer: as on a GPU, saturates, and NaN becomes 0.
namespace standin {
template <class I, class F> __forceinline__ I saturate(F rounded) {
  constexpr I low = I(-1) < I(0) ? I(I(1) << (8 * sizeof(I) - 1)) : I(0), high = I(~low);
  if (rounded != rounded) return 0;
  if (rounded <= F(low)) return low;
  if (rounded >= F(high)) return high;
  return I(rounded);
}
}  // namespace standin
#define STANDIN_CONVERSIONS(F, FROM, I, TO)                                                                \
  __forceinline__ I __##FROM##2##TO##_rn(F v) { return standin::saturate<I>(std::nearbyint(v)); }          \
  __forceinline__ I __##FROM##2##TO##_rz(F v) { return standin::saturate<I>(std::trunc(v)); }              \
  __forceinline__ I __##FROM##2##TO##_rd(F v) { return standin::saturate<I>(std::floor(v)); }              \
  __forceinline__ I __##FROM##2##TO##_ru(F v) { return standin::saturate<I>(std::ceil(v)); }
STANDIN_CONVERSIONS(float, float, int, int)
STANDIN_CONVERSIONS(float, float, unsigned, uint)
STANDIN_CONVERSIONS(float, float, long long, ll)
STANDIN_CONVERSIONS(float, float, unsigned long long, ull)
STANDIN_CONVERSIONS(double, double, int, int)
STANDIN_CONVERSIONS(double, double, unsigned, uint)
STANDIN_CONVERSIONS(double, double, long long, ll)
__forceinline__ float __int2float_rn(int v) { return float(v); }
__forceinline__ float __uint2float_rn(unsigned v) { return float(v); }
__forceinline__ float __ll2float_rn(long long v) { return float(v); }
__forceinline__ float __ull2float_rn(unsigned long long v) { return float(v); }
__forceinline__ float __double2float_rn(double v) { return float(v); }

__forceinline__ float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__forceinline__ double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
__forceinline__ float __fadd_rn(float a, float b) { return a + b; }
__forceinline__ float __fsub_rn(float a, float b) { return a - b; }
__forceinline__ float __fmul_rn(float a, float b) { return a * b; }
__forceinline__ float __fdiv_rn(float a, float b) { return a / b; }
__forceinline__ float __fsqrt_rn(float a) { return sqrtf(a); }
__forceinline__ float __frcp_rn(float a) { return 1.0f / a; }
__forceinline__ float __saturatef(float a) { return a != a ? 0.0f : a < 0.0f ? 0.0f : a > 1.0f ? 1.0f : a; }
// Approximations on a GPU.
__forceinline__ float rsqrtf(float a) { return 1.0f / sqrtf(a); }
__forceinline__ float __fdividef(float a, float b) { return a / b; }
__forceinline__ float __expf(float a) { return expf(a); }
__forceinline__ float __logf(float a) { return logf(a); }
__forceinline__ float __powf(float a, float b) { return powf(a, b); }
__forceinline__ float __sinf(float a) { return sinf(a); }
__forceinline__ float __cosf(float a) { return cosf(a); }

__forceinline__ unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
__forceinline__ int __mulhi(int a, int b) { return int(int64_t(a) * b >> 32); }
__forceinline__ unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
__forceinline__ int __popc(unsigned v) { return __builtin_popcount(v); }
__forceinline__ int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
__forceinline__ int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }
__forceinline__ int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }
__forceinline__ int __ffs(int v) { return __builtin_ffs(v); }
__forceinline__ unsigned __brev(unsigned v) {
  unsigned r = 0;
  for (int i = 0; i < 32; i++) r |= (v >> i & 1u) << (31 - i);
  return r;
}
__forceinline__ unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned by) {
  return unsigned((uint64_t(hi) << 32 | lo) << (by & 31) >> 32);
}
__forceinline__ unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned by) {
  return unsigned((uint64_t(hi) << 32 | lo) >> (by & 31));
}
// Byte i of the result is the byte of (b, a) that nibble i of the selector names.
__forceinline__ unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t bytes = uint64_t(b) << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) {
    const unsigned nibble = selector >> (4 * i) & 15, byte = unsigned(bytes >> (8 * (nibble & 7))) & 255;
    r |= (nibble & 8 ? (byte & 128 ? 255u : 0u) : byte) << (8 * i);
  }
  return r;
}

#define STANDIN_MIN_MAX(T)                                        \
  __forceinline__ T min(T a, T b) { return a < b ? a : b; }       \
  __forceinline__ T max(T a, T b) { return a > b ? a : b; }
STANDIN_MIN_MAX(int)
STANDIN_MIN_MAX(unsigned)
STANDIN_MIN_MAX(long)
STANDIN_MIN_MAX(unsigned long)
STANDIN_MIN_MAX(long long)
STANDIN_MIN_MAX(unsigned long long)
__forceinline__ unsigned min(int a, unsigned b) { return min(unsigned(a), b); }
__forceinline__ unsigned min(unsigned a, int b) { return min(a, unsigned(b)); }
__forceinline__ unsigned max(int a, unsigned b) { return max(unsigned(a), b); }
__forceinline__ unsigned max(unsigned a, int b) { return max(a, unsigned(b)); }
__forceinline__ float min(float a, float b) { return fminf(a, b); }
__forceinline__ float max(float a, float b) { return fmaxf(a, b); }
__forceinline__ double min(double a, double b) { return fmin(a, b); }
__forceinline__ double max(double a, double b) { return fmax(a, b); }

// Loads and stores with cache hints are loads and stores.
template <class T> __forceinline__ T __ldg(const T* p) { return *p; }
template <class T> __forceinline__ T __ldcs(const T* p) { return *p; }
template <class T> __forceinline__ T __ldcg(const T* p) { return *p; }
template <class T> __forceinline__ void __stcs(T* p, T v) { *p = v; }
template <class T> __forceinline__ void __stcg(T* p, T v) { *p = v; }
