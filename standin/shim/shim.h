// CUDA C++ as ordinary C++17 for g++: what kernels/portable.cuh includes when nvcc is not the compiler.
//
// `__shared__` becomes `static thread_local`: the threads of a block are fibers of one thread of the host, so they share it, and
// blocks on other host threads have their own.
#pragma once
#include "services.h"

#define STANDIN 1
#ifndef STANDIN_SCAN  // build.rs scans the preprocessed text for these words
#define __global__
#define __launch_bounds__(...)
#define __grid_constant__
#endif
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))

#define threadIdx (standin::indices.thread)
#define blockIdx (standin::indices.block)
#define blockDim (standin::indices.block_size)
#define gridDim (standin::indices.grid_size)
constexpr int warpSize = 32;

#include "vectors.h"
#include "arithmetic.h"
#include "collectives.h"
#include "atomics.h"
