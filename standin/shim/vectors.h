// The built-in vector types with their sizes and alignments, and make_*.
#pragma once

// may_alias: kernels access arrays of scalars through them.
#define STANDIN_VECTOR(T, NAME)                                                                                            \
  struct __attribute__((may_alias)) NAME##1 { T x; };                                                                      \
  struct __attribute__((may_alias, aligned(2 * sizeof(T)))) NAME##2 { T x, y; };                                           \
  struct __attribute__((may_alias)) NAME##3 { T x, y, z; };                                                                \
  struct __attribute__((may_alias, aligned(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)))) NAME##4 { T x, y, z, w; };           \
  STANDIN_MAKE_VECTOR(T, NAME)
#define STANDIN_MAKE_VECTOR(T, NAME)                                                                                       \
  __forceinline__ NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                                                      \
  __forceinline__ NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }                                              \
  __forceinline__ NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }

STANDIN_VECTOR(signed char, char)
STANDIN_VECTOR(unsigned char, uchar)
STANDIN_VECTOR(short, short)
STANDIN_VECTOR(unsigned short, ushort)
STANDIN_VECTOR(int, int)
STANDIN_VECTOR(long long, longlong)
STANDIN_VECTOR(unsigned long long, ulonglong)
STANDIN_VECTOR(float, float)
STANDIN_VECTOR(double, double)

// uint3 is also the type of the indices, in services.h.
struct __attribute__((may_alias)) uint1 { unsigned x; };
struct __attribute__((may_alias, aligned(8))) uint2 { unsigned x, y; };
struct __attribute__((may_alias, aligned(16))) uint4 { unsigned x, y, z, w; };
STANDIN_MAKE_VECTOR(unsigned, uint)
