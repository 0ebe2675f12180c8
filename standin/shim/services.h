// What compiled kernels use of the runtime: the indices of a thread, barriers, warp collectives, asynchronous copies, faults,
// and the registry that finds a kernel by its name. Included by both sides; implemented in runtime/.
#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <tuple>
#include <type_traits>
#include <utility>

// For functions of the runtime that are compiled into a kernel's library: the checked build does not check their accesses.
#define STANDIN_UNCHECKED __attribute__((no_sanitize("thread", "undefined")))
#define STANDIN_TEXT_OF(x) #x
#define STANDIN_TEXT(x) STANDIN_TEXT_OF(x)
#define STANDIN_SITE (__FILE__ ":" STANDIN_TEXT(__LINE__))

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

namespace standin {

// The CUresult values that a kernel's fault can have.
enum Fault { ILLEGAL_ADDRESS = 700, ASSERTION = 710, ILLEGAL_INSTRUCTION = 715, MISALIGNED_ADDRESS = 716, LAUNCH_FAILED = 719 };

struct Indices {
  uint3 thread, block, block_size, grid_size;
};
extern thread_local Indices indices __attribute__((tls_model("initial-exec")));

// Ends the launch with a CUDA error; the text, with kernel, block and thread before it, becomes the report.
[[noreturn]] void fault(int error, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Barriers. The second returns, to every thread, how many threads came with a true predicate.
void sync_block(const char* site);
unsigned sync_block_count(bool predicate, const char* site);
unsigned block_threads();

// A warp collective: the last lane of `mask` to arrive carries out `operation` for all; lanes[i] is what lane i passed, and is
// valid for the lanes of the mask that the operation is given (lanes that have exited are missing there).
using WarpOperation = void (*)(unsigned mask, void* const* lanes);
void warp_collective(unsigned mask, WarpOperation operation, void* lane, const char* site);
void sync_warp(unsigned mask, const char* site);
unsigned lane_id();
// A lane read from one that does not take part: undefined on a GPU, a fault in the checked build.
void note_absent_lane(unsigned lane, int from);

void* dynamic_shared();

// The thread has waited for the kernels before this one, and may touch memory although it was launched ahead of their end.
void kernels_before();

// Asynchronous copies of 16 bytes from global to shared memory, zeros after the first `bytes`.
void cp_async(void* shared, const void* global, int bytes, const char* site);
void cp_async_commit();
void cp_async_wait(int keep);

// WGMMA: each thread's part of a 64 x `columns` product at 16 depths, carried out at the wait for its group.
struct Operand {
  const void* at;
  unsigned block;  // bytes from 64 rows or columns to the next, if it is MN-major
};
void wgmma(float* sums, int columns, bool mn_major, Operand a, Operand b, const char* site);
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(int keep, const char* site);

// Barriers in shared memory. An arrival may announce bytes of TMA copies.
void mbarrier_init(unsigned long long* barrier, unsigned arrivals, const char* site);
void mbarrier_fence_init();
void mbarrier_arrive_expecting(unsigned long long* barrier, unsigned bytes, const char* site);
void mbarrier_wait(unsigned long long* barrier, unsigned parity, const char* site);

// TMA copies of a box of a tensor to shared memory; `offsets` for im2col.
void tma_load(void* shared, const void* tensor_map, unsigned long long* barrier, std::initializer_list<int> coordinates,
              std::initializer_list<unsigned short> offsets, const char* site);

// Checks of the accesses that emulated instructions make.
void shared_row_read(const void* row, unsigned bytes, const char* instruction, const char* site);
void note_atomic(const void* p, unsigned bytes);
void note_fence();
void require_compute_capability(int at_least, const char* site);

// A number or a pointer that a kernel is given: a parameter, or a field of the struct that is its only one.
struct Argument {
  const char* name;  // of a field
  int parameter;
  unsigned offset;  // in bytes, within the parameter
  bool pointer;
};

// A kernel as its library registers it. The launcher copies the parameters, then calls once per thread.
struct Kernel {
  const char* name;
  int max_threads;  // __launch_bounds__
  const Argument* arguments;
  int argument_count;
  void* (*pack)(void** parameters);
  void (*unpack)(void* packed);  // frees what pack returned
  void (*call)(const void* packed);
  void* (*static_shared)();  // an address within this thread's copy of the library's static shared memory
  int max_dynamic_shared = 48 * 1024;
};
void register_kernel(Kernel*);

static thread_local char static_shared_anchor;
[[maybe_unused]] static void* address_of_static_shared() { return &static_shared_anchor; }

template <auto FUNCTION> struct Register;
template <class... Parameters, void (*FUNCTION)(Parameters...)> struct Register<FUNCTION> {
  using Packed = std::tuple<std::decay_t<Parameters>...>;
  template <size_t... I> static void* pack_each(void** parameters, std::index_sequence<I...>) {
    return new Packed(*static_cast<const std::decay_t<Parameters>*>(parameters[I])...);
  }
  static void* pack(void** parameters) { return pack_each(parameters, std::index_sequence_for<Parameters...>{}); }
  static void unpack(void* packed) { delete static_cast<Packed*>(packed); }
  STANDIN_UNCHECKED static void call(const void* packed) { std::apply(FUNCTION, *static_cast<const Packed*>(packed)); }
  // What is last are the arguments of __launch_bounds__.
  explicit Register(const char* name, int max_threads = 1024, int = 0) { add(name, by_parameter(), sizeof...(Parameters), max_threads); }
  static const Argument* by_parameter() {
    int i = 0;
    static const Argument arguments[] = {Argument{nullptr, i++, 0, std::is_pointer_v<Parameters>}..., Argument{}};
    return arguments;
  }
  // The fields of the struct that the kernel takes.
  template <int COUNT> explicit Register(const char* name, const Argument (&fields)[COUNT], int max_threads = 1024, int = 0) {
    add(name, fields, COUNT, max_threads);
  }
  static void add(const char* name, const Argument* arguments, int count, int max_threads) {
    static Kernel kernel;
    kernel.name = name;
    kernel.max_threads = max_threads;
    kernel.arguments = arguments;
    kernel.argument_count = count;
    kernel.pack = pack;
    kernel.unpack = unpack;
    kernel.call = call;
    kernel.static_shared = address_of_static_shared;
    register_kernel(&kernel);
  }
};

}  // namespace standin
