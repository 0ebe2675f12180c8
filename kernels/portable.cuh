// The dialect of the kernels: CUDA C++ under nvcc, the same text as ordinary C++ under g++ for the CPU stand-in (standin/).
// Kernels include this file, the project's other headers, and nothing else; instructions that CUDA C++ has no name for are in ptx.cuh.
//
// Rules that keep a kernel both fast and testable:
//   * a kernel is a line KERNEL(unique_name, Parameters, (threads, blocks), function), and its parameters one struct: build.rs reads both,
//     expanding no macros, and makes Rust's struct and launcher of them (build/layout.rs says what a struct may have);
//   * dynamic shared memory comes through DYN_SHARED, whose start is 128-byte aligned;
//   * warp collectives take the full mask; blocks never wait for each other by spinning;
//   * sizes are parameters; fused multiply-adds are written fmaf (nvcc contracts nothing: --fmad=false);
//   * every thread calls kernels_before() before it touches global memory: the kernel may be launched before the previous kernels have
//     ended (programmatic dependent launch, PDL);
//   * what no thread writes may be read by __ldg where nvcc should know it: of pointers in a struct it does not;
//   * several threads that store to one place use an atomic even where all store the same value;
//   * the comment above a kernel says what it computes, its launch, its shared memory, and its bound: what limits its time on a GPU.
#pragma once
#ifdef __CUDACC__
#include <cstdint>
// One array for all kernels of a module; each gives it a type of its own.
extern __shared__ __align__(128) unsigned char dyn_shared_raw[];
#define DYN_SHARED(T, name) T* name = reinterpret_cast<T*>(dyn_shared_raw)
// If this kernel was launched before the previous ones have ended (PDL, sm_90 and later), waits for them; and lets the next kernel be
// launched early too: once all blocks of this kernel have begun, its blocks use the free slots of the multiprocessors.
static __device__ __forceinline__ void kernels_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\ngriddepcontrol.wait;\n" ::: "memory");
#endif
}
// The function of a kernel that a GPU cannot run.
template <class Parameters>
static __device__ __forceinline__ void trapped(const Parameters&) {
  __trap();
}
#else
#include "shim.h"
#define DYN_SHARED(T, name) T* name = static_cast<T*>(standin::dynamic_shared())
#define kernels_before() standin::kernels_before()
#endif

// A kernel: its name, the struct that it takes, in brackets its launch bounds (most threads of a block, fewest blocks of a multiprocessor),
// and the function that its threads call. The struct is taken by value: as `__grid_constant__` nvcc unrolls loops less. Only one with tensor
// maps, of which TMA needs the address, is `const __grid_constant__`.
#define KERNEL(NAME, PARAMETERS, BOUNDS, ...) \
  extern "C" __global__ void __launch_bounds__ BOUNDS NAME(PARAMETERS given) { __VA_ARGS__(given); }

// bfloat16: the upper half of a float. Conversions to it are in ptx.cuh (one instruction on sm_80 and later).
struct __align__(2) bf16 {
  unsigned short bits;
};
// Two bf16 in one register, the first in the lower half: what mma and ldmatrix work on.
struct __align__(4) bf16x2 {
  bf16 lo, hi;
};
static __device__ __forceinline__ float to_float(bf16 h) { return __uint_as_float((unsigned)h.bits << 16); }
// The first and the second of two bf16 packed in one word.
static __device__ __forceinline__ float low_to_float(unsigned packed) { return __uint_as_float(packed << 16); }
static __device__ __forceinline__ float high_to_float(unsigned packed) { return __uint_as_float(packed & 0xffff0000u); }
