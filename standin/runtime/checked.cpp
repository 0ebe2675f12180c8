// The checked build: kernels are compiled with -fsanitize=thread and a part of -fsanitize=undefined, whose callbacks are here
// instead of in the compiler's libraries. Every access of a kernel is compared with a shadow memory: is it within bounds, has the
// memory been written, and is it ordered with the accesses of other threads?
//
// One clock counts the events that order accesses: the start of a launch and of a block, block barriers, warp barriers. Each byte
// has a shadow cell with its last write and its last read, each with the time and the thread. An earlier access is ordered before
// the current one if it was made
//   * by the same thread,
//   * in an earlier launch,
//   * by the same block before its last barrier,
//   * by the same warp before its last __syncwarp,
//   * by a block whose atomic counter, incremented after __threadfence, this block has read,
//   * by a warp before the last __syncwarp ahead of its arrival at an mbarrier, if this thread has waited for that phase.
#include "runtime.h"
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <map>
#include <memory>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <unordered_map>

namespace standin {

// How far the threads of several unordered accesses of one kind are apart.
enum Spread : uint8_t { ONE_THREAD, ONE_WARP, ONE_BLOCK, SEVERAL_BLOCKS };
enum Kind : uint8_t { PLAIN, ATOMIC, COPY_UNDER_WAY, TMA_COPY, BY_HOST };
struct Access1 {
  uint32_t time;  // 0: never
  uint16_t thread;
  Spread spread;
  Kind kind;
};
struct ShadowCell {
  Access1 write, read;
  bool operator==(const ShadowCell& o) const { return !memcmp(this, &o, sizeof o); }
};
static_assert(sizeof(ShadowCell) == 16);

[[maybe_unused]] static uint32_t now = 1, launch_time, block_time, barrier_time;

// ---- blocks that synchronise through an atomic counter, as where the last block to finish adds up the results of all
struct Released {
  uint32_t block_begin, barrier;  // what the block did between these is visible
  uint16_t thread;                // and what this thread did, up to `until`
  uint32_t until;
};
[[maybe_unused]] static std::unordered_map<const void*, std::vector<Released>> released;
[[maybe_unused]] static std::vector<Released> acquired;
[[maybe_unused]] static std::vector<bool> fenced;  // threads of the block, since their last atomic

static bool is_acquired(const Access1& a) {
  auto after = std::upper_bound(acquired.begin(), acquired.end(), a.time, [](uint32_t t, const Released& r) { return t < r.block_begin; });
  if (after == acquired.begin()) return false;
  const Released& r = *std::prev(after);
  return a.time < r.barrier || (a.spread == ONE_THREAD && a.thread == r.thread && a.time <= r.until);
}

// ---- mbarriers: for each thread of the block, and for each warp and TMA, the time before which their accesses are visible to it
[[maybe_unused]] static std::vector<std::array<uint32_t, AGENTS>> seen;

static bool is_seen(const Access1& a, unsigned thread) {
  const auto& times = seen[thread];
  return a.kind == TMA_COPY ? a.time < times[TMA_COPIES] : a.spread <= ONE_WARP && a.time < times[a.thread / 32];
}

// A cell holds one time for the reads of all warps. In dynamic shared memory, where warps release operands through mbarriers one by one,
// each 16 bytes also have the time of the last read of each warp.
constexpr int LINE = 16;
static uint32_t (*line_reads())[32] {
  static auto* reads = (uint32_t(*)[32])calloc(DYNAMIC_MAPPING / LINE, sizeof(uint32_t[32]));
  return reads;
}
static void note_line_reads(ptrdiff_t offset, size_t bytes) {
  const unsigned warp = worker->current->linear / 32;
  for (size_t line = offset / LINE; line <= (offset + bytes - 1) / LINE; line++) line_reads()[line][warp] = now;
}
// Before a write, removes the reads that are ordered before it by mbarriers.
static void forget_seen_reads(ShadowCell* cells, ptrdiff_t offset, size_t bytes) {
  const unsigned thread = worker->current->linear;
  const auto& times = seen[thread];
  for (size_t i = offset; i < offset + bytes;) {
    const auto& reads = line_reads()[i / LINE];
    bool all = true;
    for (unsigned warp = 0; warp < worker->warps.size(); warp++)
      all &= warp == thread / 32 || reads[warp] < barrier_time || reads[warp] < times[warp];
    for (const size_t end = std::min(offset + bytes, (i / LINE + 1) * LINE); i < end; i++)
      if (all) cells[i].read = {};
  }
}

// ---- the order of accesses
static bool ordered(const Access1& a, unsigned thread, const Warp& warp) {
  if (a.time < launch_time) return true;
  if (a.spread == SEVERAL_BLOCKS) return false;
  if (a.time < block_time) return is_acquired(a);
  if (a.time < barrier_time) return true;
  if (a.spread == ONE_THREAD && a.thread == thread && a.kind != TMA_COPY) return true;
  if (a.time >= block_time && is_seen(a, thread)) return true;
  return a.spread <= ONE_WARP && a.thread / 32u == thread / 32 && a.time < warp.sync_time;
}
static void record(Access1& a, Kind kind, unsigned thread, const Warp& warp) {
  Spread spread = ONE_THREAD;
  if (a.time && !ordered(a, thread, warp)) {
    spread = a.time < block_time ? SEVERAL_BLOCKS : a.thread / 32u != thread / 32 ? ONE_BLOCK : ONE_WARP;
    spread = std::max(spread, a.spread);
  } else if (a.time >= barrier_time && a.thread == thread) {
    spread = a.spread;
  }
  a = {now, (uint16_t)thread, spread, kind};
}

// What is wrong with an access to one byte, or null; records it in the shadow cell.
static const char* touch(ShadowCell& cell, Access access, bool shared) {
  const Worker& w = *worker;
  const unsigned thread = w.current->linear;
  const Warp& warp = w.warps[thread / 32];
  if (shared && cell.write.time < block_time) cell.write = {};  // another block's
  if (shared && cell.read.time < block_time) cell.read = {};
  if (access == Access::COPY_ENDS || access == Access::TMA_COPY_ENDS) {
    cell.write = {now, (uint16_t)thread, ONE_THREAD, access == Access::COPY_ENDS ? PLAIN : TMA_COPY};
    return nullptr;
  }
  const Access1& before = cell.write;
  const bool reads = access == Access::READ, atomic = access == Access::ATOMIC;
  if (reads && !before.time) return "uninitialised";
  if (before.kind == COPY_UNDER_WAY && before.time >= launch_time) return "an asynchronous copy to it has not been waited for";
  if (before.time && !(atomic && before.kind == ATOMIC) && !ordered(before, thread, warp)) return "race with a write";
  if (!reads && cell.read.time && !ordered(cell.read, thread, warp)) return "race with a read";
  if (reads)
    record(cell.read, PLAIN, thread, warp);
  else if (atomic && before.kind == ATOMIC)
    record(cell.write, ATOMIC, thread, warp);
  else
    cell.write = {now, (uint16_t)thread, ONE_THREAD, atomic ? ATOMIC : access == Access::COPY_BEGINS ? COPY_UNDER_WAY : PLAIN};
  return nullptr;
}

static const char* touch_all(ShadowCell* cells, size_t bytes, Access access, bool shared) {
  // If all bytes of an access have the same history, as most do, checking the first is enough.
  ShadowCell before = cells[0];
  if (const char* wrong = touch(cells[0], access, shared)) return wrong;
  for (size_t i = 1; i < bytes; i++) {
    if (cells[i] == before) {
      cells[i] = cells[i - 1];
      continue;
    }
    before = cells[i];
    if (const char* wrong = touch(cells[i], access, shared)) return wrong;
  }
  return nullptr;
}

// ---- names and sizes of static shared arrays, from the symbol table of their library
struct Statics {
  std::map<size_t, std::pair<size_t, std::string>> arrays;  // offset: size, name
  ShadowCell* cells = nullptr;
};
static std::string array_name(const char* symbol) {  // _ZZ6kernelE4tile: the last part
  std::string name = symbol;
  const size_t e = name.rfind('E');
  if (name.compare(0, 3, "_ZZ") || e == std::string::npos) return name;
  size_t i = e + 1;
  while (i < name.size() && isdigit(name[i])) i++;
  const size_t length = atoi(name.c_str() + e + 1);
  return length ? name.substr(i, length) : name;
}
static void read_symbols(Statics& s, const char* path) {
  const int file = open(path, O_RDONLY);
  struct stat status;
  if (file < 0) return;
  if (fstat(file, &status) == 0) {
    char* image = (char*)mmap(nullptr, status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (image != MAP_FAILED) {
      auto* header = (ElfW(Ehdr)*)image;
      auto* sections = (ElfW(Shdr)*)(image + header->e_shoff);
      for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB) continue;
        auto* symbols = (ElfW(Sym)*)(image + sections[i].sh_offset);
        const char* names = image + sections[sections[i].sh_link].sh_offset;
        for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols; k++)
          if (ELF64_ST_TYPE(symbols[k].st_info) == STT_TLS && symbols[k].st_shndx != SHN_UNDEF && symbols[k].st_size)
            s.arrays[symbols[k].st_value] = {symbols[k].st_size, array_name(names + symbols[k].st_name)};
      }
      munmap(image, status.st_size);
    }
  }
  close(file);
}
static Statics& statics_of(Worker& w) {
  // By library too: when a thread ends, the next one's copy of another library may come to lie at the same address.
  static auto& known = *new std::map<std::pair<void* (*)(), char*>, Statics>;
  auto [it, fresh] = known.try_emplace({w.launch->kernel->static_shared, w.statics});
  if (fresh) {
    struct Query {
      char* segment;
      Statics* statics;
    } query{w.statics, &it->second};
    dl_iterate_phdr(
        [](dl_phdr_info* library, size_t, void* data) {
          auto& q = *(Query*)data;
          if (library->dlpi_tls_data != q.segment) return 0;
          read_symbols(*q.statics, library->dlpi_name);
          return 1;
        },
        &query);
    it->second.cells = (ShadowCell*)calloc(w.statics_size, sizeof(ShadowCell));
  }
  return it->second;
}

// ---- one access
static const char* name_of(Access access) {
  return access == Access::READ ? "read" : access == Access::ATOMIC ? "atomic" : access == Access::WRITE ? "write" : "cp.async";
}
static void make_cells(Allocation& a) {
  if (a.cells) return;
  a.cells = (ShadowCell*)mmap(nullptr, a.size * sizeof(ShadowCell), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}
[[noreturn]] static void complain(const void* instruction, const char* wrong, Access access, size_t bytes, const char* place, size_t offset, size_t size) {
  fault_at(instruction, LAUNCH_FAILED, "%s: %s of %zu bytes at offset %zu of %s (%zu bytes)", wrong, name_of(access), bytes, offset, place, size);
}

[[maybe_unused]] static void check_access(const void* p, size_t bytes, Access access, const void* instruction) {
  Worker* w = worker;
  if (!w || !w->current || !bytes) return;
  const char* address = (const char*)p;
  const Fiber& f = *w->current;
  if (address < f.stack + PAGE && address >= f.stack - settings.stack) return;  // the thread's own variables

  if (address >= w->dynamic_mapping && address < w->dynamic_mapping + DYNAMIC_MAPPING) {
    static ShadowCell* cells = (ShadowCell*)calloc(DYNAMIC_MAPPING, sizeof(ShadowCell));
    const ptrdiff_t offset = address - w->dynamic;
    if (offset < 0 || offset + bytes > w->launch->shared)
      fault_at(instruction, ILLEGAL_ADDRESS, "%s of %zu bytes at offset %zd of %u bytes of dynamic shared memory", name_of(access), bytes, offset, w->launch->shared);
    const bool handed_back = !w->barriers.empty();
    if (handed_back && (access == Access::WRITE || access == Access::COPY_BEGINS)) forget_seen_reads(cells, offset, bytes);
    if (const char* wrong = touch_all(cells + offset, bytes, access, true))
      complain(instruction, wrong, access, bytes, "dynamic shared memory", offset, w->launch->shared);
    if (handed_back && access == Access::READ) note_line_reads(offset, bytes);
    return;
  }

  if (address >= w->statics && address < w->statics + w->statics_size) {
    Statics& statics = statics_of(*w);
    const size_t offset = address - w->statics;
    auto after = statics.arrays.upper_bound(offset);
    if (after == statics.arrays.begin()) return;
    auto& [begin, array] = *std::prev(after);
    if (offset + bytes > begin + array.first)
      fault_at(instruction, ILLEGAL_ADDRESS, "%s of %zu bytes at offset %zu of the shared array %s (%zu bytes)", name_of(access), bytes, offset - begin,
               array.second.c_str(), array.first);
    if (const char* wrong = touch_all(statics.cells + offset, bytes, access, true))
      complain(instruction, wrong, access, bytes, ("the shared array " + array.second).c_str(), offset - begin, array.first);
    return;
  }

  Allocation* a = find_allocation(address);
  if (!a) return;  // constants; any other address hits an inaccessible page
  if (w->launch->ahead && !f.waited_before)
    fault_at(instruction, LAUNCH_FAILED, "%s of %zu bytes of an allocation, and the thread has not waited for the kernels before this one",
             name_of(access), bytes);
  const ptrdiff_t offset = address - a->base;
  if (offset < 0 || offset + bytes > a->size)
    fault_at(instruction, ILLEGAL_ADDRESS, "%s of %zu bytes at offset %zd of an allocation of %zu bytes", name_of(access), bytes, offset, a->size);
  make_cells(*a);
  if (const char* wrong = touch_all(a->cells + offset, bytes, access, false)) complain(instruction, wrong, access, bytes, "an allocation", offset, a->size);
}

void free_shadow(Allocation& a) {
  if (a.cells) munmap(a.cells, a.size * sizeof(ShadowCell));
  a.cells = nullptr;
}

#ifdef STANDIN_CHECKED

void mark_written(Allocation& a, size_t offset, size_t bytes) {
  make_cells(a);
  const ShadowCell cell{{1, 0, ONE_THREAD, BY_HOST}, {}};
  std::fill_n(a.cells + offset, bytes, cell);
}
void copy_written(Allocation& to, size_t at, Allocation& from, size_t offset, size_t bytes) {
  make_cells(to);
  make_cells(from);
  for (size_t i = 0; i < bytes; i++) to.cells[at + i] = {{from.cells[offset + i].write.time ? 1u : 0u, 0, ONE_THREAD, BY_HOST}, {}};
}
void checked_access(const void* p, size_t bytes, Access access, const void* instruction) { check_access(p, bytes, access, instruction); }
void checked_launch_begins() {
  launch_time = ++now;
  released.clear();
}
void checked_block_begins(Worker& w) {
  block_time = barrier_time = ++now;
  acquired.clear();
  fenced.assign(w.threads, false);
  seen.assign(w.threads, {});
  for (auto& warp : w.warps) warp.sync_time = 0;
}
void checked_barrier(Worker&) { barrier_time = ++now; }
void checked_warp_synced(Worker&, Warp& warp) { warp.sync_time = ++now; }
void checked_arrival(Barrier& b) {
  const unsigned thread = worker->current->linear, own = thread / 32;
  for (int agent = 0; agent < AGENTS; agent++) b.released[agent] = std::max(b.released[agent], seen[thread][agent]);
  b.released[own] = std::max(b.released[own], worker->warps[own].sync_time);
}
void checked_tma_copy_ends(Barrier& b) { b.released[TMA_COPIES] = ++now; }
void checked_phase_ends(Barrier& b) { std::copy_n(b.released, AGENTS, b.visible); }
void checked_acquire(const Barrier& b) {
  auto& times = seen[worker->current->linear];
  for (int agent = 0; agent < AGENTS; agent++) times[agent] = std::max(times[agent], b.visible[agent]);
}
void note_fence() {
  if (worker && worker->current) fenced[worker->current->linear] = true;
}
void note_atomic(const void* p, unsigned bytes) {
  checked_access(p, bytes, Access::ATOMIC, __builtin_return_address(0));
  if (!worker || !worker->current) return;
  const unsigned thread = worker->current->linear;
  auto& history = released[p];
  for (auto& r : history)
    if (r.block_begin != block_time) acquired.push_back(r);
  std::sort(acquired.begin(), acquired.end(), [](auto& a, auto& b) { return a.block_begin < b.block_begin; });
  acquired.erase(std::unique(acquired.begin(), acquired.end(), [](auto& a, auto& b) { return a.block_begin == b.block_begin; }), acquired.end());
  if (fenced[thread]) history.push_back({block_time, barrier_time, (uint16_t)thread, now});
}

#else  // the plain build keeps no shadow

void mark_written(Allocation&, size_t, size_t) {}
void copy_written(Allocation&, size_t, Allocation&, size_t, size_t) {}
void checked_access(const void*, size_t, Access, const void*) {}
void checked_launch_begins() {}
void checked_block_begins(Worker&) {}
void checked_barrier(Worker&) {}
void checked_warp_synced(Worker&, Warp&) {}
void checked_arrival(Barrier&) {}
void checked_tma_copy_ends(Barrier&) {}
void checked_phase_ends(Barrier&) {}
void checked_acquire(const Barrier&) {}
void note_fence() {}
void note_atomic(const void*, unsigned) {}

#endif

}  // namespace standin

#ifdef STANDIN_CHECKED
// ---- callbacks before an access

using standin::Access;
#define RETURN_ADDRESS __builtin_return_address(0)
#define HOOKS(N)                                                                                                                 \
  extern "C" void __tsan_unaligned_read##N(void* p) { standin::checked_access(p, N, Access::READ, RETURN_ADDRESS); }             \
  extern "C" void __tsan_unaligned_write##N(void* p) { standin::checked_access(p, N, Access::WRITE, RETURN_ADDRESS); }           \
  extern "C" void __tsan_read##N(void* p) { standin::checked_access(p, N, Access::READ, RETURN_ADDRESS); }                       \
  extern "C" void __tsan_write##N(void* p) { standin::checked_access(p, N, Access::WRITE, RETURN_ADDRESS); }                     \
  extern "C" void __tsan_volatile_read##N(void* p) { standin::checked_access(p, N, Access::READ, RETURN_ADDRESS); }              \
  extern "C" void __tsan_volatile_write##N(void* p) { standin::checked_access(p, N, Access::WRITE, RETURN_ADDRESS); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void*) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_read_range(void* p, size_t n) { standin::checked_access(p, n, Access::READ, RETURN_ADDRESS); }
void __tsan_write_range(void* p, size_t n) { standin::checked_access(p, n, Access::WRITE, RETURN_ADDRESS); }

// ---- callbacks at undefined operations: misaligned access, index beyond an array, overflow, shift
struct SourceLocation {
  const char* file;
  uint32_t line, column;
};
static void undefined(const SourceLocation* at, int error, const char* what) {
  if (!standin::worker || !standin::worker->current) return;
  const char* name = strrchr(at->file, '/');
  standin::fault(error, "%s (%s:%u)", what, name ? name + 1 : at->file, at->line);
}
#define UNDEFINED(HANDLER, ERROR, WHAT, ...) \
  void __ubsan_handle_##HANDLER(SourceLocation* at, ##__VA_ARGS__) { undefined(at, standin::ERROR, WHAT); }
UNDEFINED(type_mismatch_v1, MISALIGNED_ADDRESS, "misaligned access", void*)
UNDEFINED(out_of_bounds, ILLEGAL_ADDRESS, "index beyond the bounds of an array", void*)
UNDEFINED(shift_out_of_bounds, LAUNCH_FAILED, "shift by more bits than there are", void*, void*)
UNDEFINED(add_overflow, LAUNCH_FAILED, "signed overflow of an addition", void*, void*)
UNDEFINED(sub_overflow, LAUNCH_FAILED, "signed overflow of a subtraction", void*, void*)
UNDEFINED(mul_overflow, LAUNCH_FAILED, "signed overflow of a multiplication", void*, void*)
UNDEFINED(negate_overflow, LAUNCH_FAILED, "signed overflow of a negation", void*)
UNDEFINED(divrem_overflow, LAUNCH_FAILED, "integer division by zero", void*, void*)
}
#endif
