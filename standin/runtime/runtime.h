// Internal to the runtime: how a grid is executed, and what its files share.
//
//   fiber.cpp    stacks and the switch between the threads of a block
//   block.cpp    one launch: workers, blocks, the barrier, the order of threads
//   warp.cpp     warp collectives
//   cp_async.cpp asynchronous copies
//   wgmma.cpp    matrix products of four warps
//   mbarrier.cpp barriers in shared memory, TMA
//   fault.cpp    faults: from the place where they happen to the report
//   checked.cpp  the shadow memory of the checked build
#pragma once
#include "services.h"
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

namespace standin {

enum class Order { ASCENDING, DESCENDING, SHUFFLED };

// What the environment and the exported functions set. Read at each use, so changes hold from the next launch on.
struct Settings {
  Order order = Order::ASCENDING;
  uint64_t seed = 0;
  int threads = 1;               // workers of the host; 1 in the checked build
  size_t stack = 64 << 10;       // bytes per thread of a block
  bool lazy = false;             // streams run at synchronisation points only
  bool early_copies = false;     // cp.async happens at once, not at its wait
  int devices = 1;
  int driver_version = 13000;
  int compute_capability = 90;
  size_t memory = size_t(8) << 30;
  bool quiet = false;            // faults are not printed
  bool dry = false;              // launches and what the host writes are not carried out
  const char* trace = nullptr;   // a file that gets a line per launch
};
extern Settings settings;

struct Launch {
  const Kernel* kernel;
  const void* packed;
  dim3 grid, block;
  unsigned shared;
  bool ahead;  // launched before the previous kernels have ended (PDL): threads have to wait for them
};
// Runs a grid to its end; returns 0 or a CUresult.
int run_launch(const Launch&);

// The text of the last fault. `report` replaces it, and prints it unless quiet.
void report(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string last_report();
void clear_report();

// ---- device memory, as memory.cpp keeps it
struct ShadowCell;
struct Allocation {
  char* base;
  size_t size;
  char* mapping;  // the allocation between two inaccessible pages
  size_t mapping_size;
  ShadowCell* cells = nullptr;  // checked build: one per byte, made at the first access
};
Allocation* find_allocation(const void*);
void free_shadow(Allocation&);
void mark_written(Allocation&, size_t offset, size_t bytes);       // by the host or a copy
void copy_written(Allocation& to, size_t at, Allocation& from, size_t offset, size_t bytes);

// ---- the threads of a block
struct AsyncCopy {
  void* shared;
  const void* global;
  int bytes;
  const char* site;
};
// A thread's part of a matrix product in flight.
struct Product {
  float* sums;
  int columns;
  bool mn_major;
  Operand a, b;
  const char* site;
};
struct Fiber {
  void* stack_pointer = nullptr;  // null: has not begun
  char* stack = nullptr;          // its upper end; null: runs on that of another fiber, or has none
  uint3 index;
  unsigned linear;
  const char* waits_at = nullptr;
  bool waited_before = false;                  // has waited for the kernels before this one
  std::vector<std::vector<AsyncCopy>> copies;  // committed groups, then the open one
  std::vector<std::vector<Product>> products;  // likewise
  bool sums_fenced = false;                    // has called wgmma_fence since it last had no product in flight
};
// A TMA copy in flight.
struct TmaCopy {
  char* shared;
  alignas(64) char map[128];
  int at[4];
  unsigned short offsets[2];
  unsigned thread;
  bool done;
};
// The agents whose accesses an mbarrier orders: 32 warps, and TMA.
constexpr int TMA_COPIES = 32, AGENTS = 33;
struct Barrier {
  unsigned arrivals, pending, phase = 0, initialiser;
  long long bytes = 0;  // announced and not yet arrived
  bool fenced = false;  // a fence has made its initialisation visible to TMA
  std::vector<TmaCopy> copies;
  std::vector<Fiber*> waiters;
  // Checked build: the times before which accesses are ordered before this phase's end, and were before the last one's.
  uint32_t released[AGENTS] = {}, visible[AGENTS] = {};
};
struct Collective {
  unsigned mask, arrived;
  WarpOperation operation;
  const char* site;
};
struct Warp {
  uint32_t runnable = 0, live = 0, at_barrier = 0;
  uint32_t sync_time = 0;  // checked build: of the last __syncwarp
  Collective collectives[4];
  int open = 0;
  void* lanes[32];
};

// A thread of the host that runs blocks, one after another.
struct Worker {
  const Launch* launch = nullptr;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  unsigned threads = 0, live = 0, arrived = 0, current_warp = 0;
  uint32_t runnable_warps = 0;
  const char* barrier_site = nullptr;
  unsigned barrier_votes = 0, barrier_result = 0;
  std::map<const void*, Barrier> barriers;  // in shared memory
  Fiber* current = nullptr;
  void* scheduler = nullptr;  // stack pointer of the code that started the block
  uint64_t random = 1;
  unsigned long long switches = 0;

  std::vector<char*> free_stacks;
  unsigned stacks_made = 0;
  char* emergency_stack = nullptr;

  char* dynamic_mapping = nullptr;  // dynamic shared memory ends at an inaccessible page
  char* dynamic = nullptr;
  char* statics = nullptr;          // static shared memory: this thread's copy of the library's thread-locals
  size_t statics_size = 0;

  int error = 0;
  std::string what;            // of the fault
  const void* where = nullptr; // address of the instruction, where known
  const char* site = nullptr;  // of the emulated instruction whose accesses are being checked
};
extern thread_local Worker* worker __attribute__((tls_model("initial-exec")));

constexpr size_t PAGE = 4096, MAX_SHARED = 232448, DYNAMIC_MAPPING = 256 << 10;

// ---- fiber.cpp
extern "C" void standin_switch(void** save, void* load);
char* take_stack(Worker&);
void begin(Worker&, Fiber&);    // gives a fiber a stack on which `fiber_main` starts
// ---- block.cpp
[[noreturn]] void fiber_main();
void enter(Worker&, Fiber&);
Fiber* pick(Worker&);           // the next thread to run, or null
uint64_t random(Worker&);
void wake(Worker&, unsigned warp, uint32_t lanes);
void wait_here(Worker&, const char* site);
// ---- warp.cpp
bool complete(Worker&, unsigned warp, int collective, int caller);
// ---- cp_async.cpp
void check_copies_at_exit(Fiber&);
void check_products_at_exit(Fiber&);
// ---- mbarrier.cpp
bool finish_a_copy(Worker&);    // one that a thread waits for; false if there is none
std::string unfinished_barriers(Worker&);
void check_tma_copies_at_exit(Worker&);
// ---- fault.cpp
void catch_signals();
[[noreturn]] void fault_at(const void* instruction, int error, const char* format, ...) __attribute__((format(printf, 3, 4)));
std::string source_line(const void* instruction);

// ---- checked.cpp: time stamps of the happens-before order, and checks on behalf of the runtime's own accesses
void checked_launch_begins();
void checked_block_begins(Worker&);
void checked_barrier(Worker&);
void checked_warp_synced(Worker&, Warp&);
void checked_arrival(Barrier&);
void checked_tma_copy_ends(Barrier&);
void checked_phase_ends(Barrier&);
void checked_acquire(const Barrier&);
enum class Access { READ, WRITE, ATOMIC, COPY_BEGINS, COPY_ENDS, TMA_COPY_ENDS };
void checked_access(const void* p, size_t bytes, Access, const void* instruction);
#ifdef STANDIN_CHECKED
constexpr bool CHECKED = true;
#else
constexpr bool CHECKED = false;
#endif

struct Statistics {
  unsigned long long launches, blocks, threads, switches;
};
extern Statistics statistics;

}  // namespace standin
