// Executes a grid: each worker runs one block after another; within a block one thread runs until it has to wait.
//
// A thread that ends without ever having waited leaves its stack to the next one, so a kernel without barriers runs as a loop.
#include "runtime.h"
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <link.h>
#include <mutex>
#include <numeric>
#include <sys/mman.h>
#include <thread>

namespace standin {

Settings settings;
Statistics statistics;
thread_local Indices indices;
thread_local Worker* worker;

static std::atomic<uint64_t> next_block;
static std::atomic<int> launch_error;

// ---- which thread runs next

uint64_t random(Worker& w) {  // xorshift
  uint64_t x = w.random;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return w.random = x;
}

static int choose(Worker& w, uint32_t candidates) {
  if (settings.order == Order::ASCENDING) return __builtin_ctz(candidates);
  if (settings.order == Order::DESCENDING) return 31 - __builtin_clz(candidates);
  for (unsigned skip = (random(w) >> 20) % __builtin_popcount(candidates); skip; skip--) candidates &= candidates - 1;
  return __builtin_ctz(candidates);
}

Fiber* pick(Worker& w) {
  if (!w.runnable_warps && !finish_a_copy(w)) return nullptr;
  if (!w.runnable_warps) return pick(w);
  // In the plain orders a warp runs until all its lanes wait; shuffled, any lane of any warp may be next.
  if (settings.order == Order::SHUFFLED || !(w.runnable_warps >> w.current_warp & 1)) w.current_warp = choose(w, w.runnable_warps);
  Warp& warp = w.warps[w.current_warp];
  const int lane = choose(w, warp.runnable);
  warp.runnable &= ~(1u << lane);
  if (!warp.runnable) w.runnable_warps &= ~(1u << w.current_warp);
  return &w.fibers[w.current_warp * 32 + lane];
}

void wake(Worker& w, unsigned warp, uint32_t lanes) {
  if (!lanes) return;
  w.warps[warp].runnable |= lanes;
  w.runnable_warps |= 1u << warp;
}

void enter(Worker& w, Fiber& f) {
  w.current = &f;
  indices.thread = f.index;
}

// No thread can run, and not all have ended: reports which wait where.
static void deadlock(Worker& w) {
  std::string text = "deadlock:";
  int named = 0;
  for (auto& f : w.fibers)
    if (f.waits_at && named++ < 4) text += " thread " + std::to_string(f.linear) + " waits at " + f.waits_at + ";";
  text.back() = named > 4 ? ',' : ' ';
  if (named > 4) text += " and " + std::to_string(named - 4) + " more";
  text += unfinished_barriers(w);
  w.error = LAUNCH_FAILED;
  w.what = text;
  w.where = nullptr;
}

// Switches from the current fiber, which has to wait, to another one.
void wait_here(Worker& w, const char* site) {
  Fiber* self = w.current;
  self->waits_at = site;
  Fiber* next = pick(w);
  if (!next) {
    deadlock(w);
    void* abandoned;
    standin_switch(&abandoned, w.scheduler);
  }
  if (next != self) {
    enter(w, *next);
    w.switches++;
    if (!next->stack_pointer) begin(w, *next);
    standin_switch(&self->stack_pointer, next->stack_pointer);
  }
  self->waits_at = nullptr;
}

// ---- the barrier of the block

static void release_barrier(Worker& w, const Fiber* caller) {
  for (unsigned i = 0; i < w.warps.size(); i++) {
    uint32_t lanes = w.warps[i].at_barrier;
    w.warps[i].at_barrier = 0;
    if (caller && i == caller->linear / 32) lanes &= ~(1u << caller->linear % 32);
    wake(w, i, lanes);
  }
  w.arrived = 0;
  w.barrier_site = nullptr;
  w.barrier_result = w.barrier_votes;
  w.barrier_votes = 0;
  checked_barrier(w);
}

void sync_block(const char* site) {
  Worker& w = *worker;
  Fiber& f = *w.current;
  if (w.barrier_site && w.barrier_site != site && strcmp(w.barrier_site, site))
    fault(LAUNCH_FAILED, "divergent barrier: %s, where others wait at %s", site, w.barrier_site);
  w.barrier_site = site;
  if (++w.arrived == w.live) return release_barrier(w, &f);
  w.warps[f.linear / 32].at_barrier |= 1u << f.linear % 32;
  wait_here(w, site);
}

unsigned sync_block_count(bool predicate, const char* site) {
  worker->barrier_votes += predicate;
  sync_block(site);
  return worker->barrier_result;  // unchanged until all threads have reached the next barrier
}

unsigned block_threads() { return worker->threads; }
unsigned lane_id() { return worker->current->linear & 31; }
void* dynamic_shared() { return worker->dynamic; }
void kernels_before() { worker->current->waited_before = true; }

// ---- the life of a thread

static void end_thread(Worker& w, Fiber& f) {
  check_copies_at_exit(f);
  check_products_at_exit(f);
  const unsigned warp = f.linear / 32;
  w.warps[warp].live &= ~(1u << f.linear % 32);
  w.live--;
  for (int i = 0; i < w.warps[warp].open;)
    if (!complete(w, warp, i, -1)) i++;
  if (w.live && w.arrived == w.live) release_barrier(w, nullptr);
  if (!w.live) check_tma_copies_at_exit(w);
}

void fiber_main() {
  for (;;) {
    worker->launch->kernel->call(worker->launch->packed);
    Worker& w = *worker;
    Fiber& ended = *w.current;
    end_thread(w, ended);
    Fiber* next = pick(w);
    void* abandoned;
    if (!next) {
      if (w.live) deadlock(w);
      standin_switch(&abandoned, w.scheduler);
    }
    enter(w, *next);
    if (!next->stack_pointer) {  // has not begun: starts on this stack
      next->stack = ended.stack;
      ended.stack = nullptr;
      continue;
    }
    w.switches++;
    w.free_stacks.push_back(ended.stack);
    ended.stack = nullptr;
    standin_switch(&abandoned, next->stack_pointer);
  }
}

// ---- one block

// Static shared memory of the kernel's library: its segment of thread-locals, found by an address in it.
static void find_statics(Worker& w) {
  w.statics = (char*)w.launch->kernel->static_shared();
  w.statics_size = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* library, size_t, void* data) {
        auto& w = *(Worker*)data;
        char* begin = (char*)library->dlpi_tls_data;
        for (int i = 0; begin && i < library->dlpi_phnum; i++) {
          auto& segment = library->dlpi_phdr[i];
          if (segment.p_type != PT_TLS || w.statics < begin || w.statics >= begin + segment.p_memsz) continue;
          w.statics = begin;
          w.statics_size = segment.p_memsz;
          return 1;
        }
        return 0;
      },
      &w);
}

static void run_block(Worker& w, uint64_t number) {
  const Launch& launch = *w.launch;
  indices.block = {unsigned(number % launch.grid.x), unsigned(number / launch.grid.x % launch.grid.y),
                   unsigned(number / launch.grid.x / launch.grid.y)};
  // Shared memory begins undefined: NaN as a float, far out of range as an index.
  memset(w.statics, 0xFF, w.statics_size);
  memset(w.dynamic, 0xFF, launch.shared);
  w.live = w.threads;
  w.arrived = w.barrier_votes = 0;
  w.barrier_site = nullptr;
  w.barriers.clear();
  const unsigned warps = w.warps.size();
  w.current_warp = settings.order == Order::DESCENDING ? warps - 1 : 0;
  for (unsigned i = 0; i < warps; i++) {
    const unsigned lanes = std::min(32u, w.threads - i * 32);
    Warp& warp = w.warps[i];
    warp.runnable = warp.live = lanes == 32 ? ~0u : (1u << lanes) - 1;
    warp.at_barrier = 0;
    warp.open = 0;
  }
  w.runnable_warps = warps == 32 ? ~0u : (1u << warps) - 1;
  checked_block_begins(w);
  for (auto& f : w.fibers) {
    f.stack_pointer = nullptr;
    f.waited_before = false;
  }
  Fiber& first = *pick(w);
  enter(w, first);
  begin(w, first);
  standin_switch(&w.scheduler, first.stack_pointer);
  for (auto& f : w.fibers) {
    if (f.stack) w.free_stacks.push_back(f.stack);
    f.stack = nullptr;
    if (w.error) {
      f.copies.clear();
      f.products.clear();
      f.sums_fenced = false;
      f.waits_at = nullptr;
    }
  }
}

// ---- the blocks that one worker runs

static void prepare(Worker& w, const Launch& launch) {
  w.launch = &launch;
  w.error = 0;
  w.random = (settings.seed + 1) * 0x9E3779B97F4A7C15ull | 1;
  find_statics(w);
  if (!w.emergency_stack) w.emergency_stack = (char*)aligned_alloc(64, 65536);
  if (!w.dynamic_mapping) {
    w.dynamic_mapping = (char*)mmap(nullptr, DYNAMIC_MAPPING + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(w.dynamic_mapping + DYNAMIC_MAPPING, PAGE, PROT_NONE);
  }
  w.dynamic = w.dynamic_mapping + DYNAMIC_MAPPING - ((launch.shared + 127) & ~127u);
  w.threads = launch.block.x * launch.block.y * launch.block.z;
  w.fibers.resize(w.threads);
  w.warps.resize((w.threads + 31) / 32);
  indices.block_size = {launch.block.x, launch.block.y, launch.block.z};
  indices.grid_size = {launch.grid.x, launch.grid.y, launch.grid.z};
  for (unsigned i = 0; i < w.threads; i++) {
    Fiber& f = w.fibers[i];
    f.linear = i;
    f.index = {i % launch.block.x, i / launch.block.x % launch.block.y, i / launch.block.x / launch.block.y};
  }
}

// The block that comes i-th. Shuffled: an affine permutation.
static uint64_t block_at(uint64_t i, uint64_t blocks) {
  if (settings.order == Order::ASCENDING) return i;
  if (settings.order == Order::DESCENDING) return blocks - 1 - i;
  uint64_t stride = (settings.seed * 0x9E3779B97F4A7C15ull >> 33) % blocks;
  while (std::gcd(stride, blocks) != 1) stride++;
  return uint64_t(((unsigned __int128)i * stride + settings.seed) % blocks);
}

static void work(const Launch& launch) {
  static std::mutex mutex;
  static std::vector<Worker*> idle;
  Worker* w = nullptr;
  {
    std::lock_guard<std::mutex> guard(mutex);
    if (!idle.empty()) {
      w = idle.back();
      idle.pop_back();
    }
  }
  if (!w) w = new Worker;
  worker = w;
  // Signals of a fiber whose stack has overflowed need a stack of their own.
  stack_t ours{}, before{};
  ours.ss_sp = malloc(65536);
  ours.ss_size = 65536;
  sigaltstack(&ours, &before);
  prepare(*w, launch);
  const uint64_t blocks = (uint64_t)launch.grid.x * launch.grid.y * launch.grid.z;
  for (uint64_t i; !launch_error && (i = next_block++) < blocks;) {
    run_block(*w, block_at(i, blocks));
    if (w->error && !launch_error.exchange(w->error)) {
      const auto &b = indices.block, &t = indices.thread;
      report("kernel %s, block (%u,%u,%u), thread (%u,%u,%u): %s%s", launch.kernel->name, b.x, b.y, b.z, t.x, t.y, t.z, w->what.c_str(),
             source_line(w->where).c_str());
    }
  }
  w->launch = nullptr;
  w->current = nullptr;
  worker = nullptr;
  sigaltstack(&before, nullptr);
  free(ours.ss_sp);
  std::lock_guard<std::mutex> guard(mutex);
  statistics.switches += w->switches;
  w->switches = 0;
  idle.push_back(w);
}

// ---- more workers: threads of the host that wait for launches

struct Helpers {
  std::mutex mutex;
  std::condition_variable begin, end;
  const Launch* launch = nullptr;
  uint64_t generation = 0;
  int wanted = 0, busy = 0, started = 0;

  void run(const Launch& l, int helpers) {
    {
      std::lock_guard<std::mutex> guard(mutex);
      for (; started < helpers; started++) std::thread([this, number = started, seen = generation] { serve(number, seen); }).detach();
      launch = &l;
      wanted = busy = helpers;
      generation++;
    }
    begin.notify_all();
    work(l);
    std::unique_lock<std::mutex> lock(mutex);
    end.wait(lock, [&] { return busy == 0; });
  }
  void serve(int number, uint64_t seen) {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex);
      begin.wait(lock, [&] { return generation != seen; });
      seen = generation;
      if (number >= wanted) continue;
      const Launch& l = *launch;
      lock.unlock();
      work(l);
      lock.lock();
      busy--;
      end.notify_one();
    }
  }
};

int run_launch(const Launch& launch) {
  static Helpers& helpers = *new Helpers;  // never destroyed: its threads wait for ever
  catch_signals();
  next_block = 0;
  launch_error = 0;
  checked_launch_begins();
  const uint64_t blocks = (uint64_t)launch.grid.x * launch.grid.y * launch.grid.z;
  const uint64_t threads = blocks * launch.block.x * launch.block.y * launch.block.z;
  if (!CHECKED && settings.threads > 1 && blocks > 1 && threads >= 1024)
    helpers.run(launch, settings.threads - 1);
  else
    work(launch);
  statistics.launches++;
  statistics.blocks += blocks;
  statistics.threads += threads;
  return launch_error;
}

}  // namespace standin
