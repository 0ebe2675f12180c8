// Barriers in shared memory (mbarriers), and the TMA copies that arrive at them. A phase of a barrier ends when all its arrivals have
// come, and all bytes that they announced.
//
// A copy happens as late as allowed: when a thread waits for its barrier and no other thread can run. `early_copies` does it at once; in a
// shuffled order each copy is late or early at random.
#include "runtime.h"
#include "tensor_map.h"
#include <algorithm>
#include <cstring>

namespace standin {

static unsigned long long mark_of(const void* barrier) { return 0x6d62617272696572ull ^ uintptr_t(barrier); }

static Barrier& barrier_at(unsigned long long* at, const char* site) {
  worker->site = site;
  checked_access(at, sizeof *at, Access::READ, nullptr);
  worker->site = nullptr;
  auto found = worker->barriers.find(at);
  if (found == worker->barriers.end()) fault(LAUNCH_FAILED, "%s: no mbarrier has been initialised at %p", site, (void*)at);
  if (*at != mark_of(at)) fault(LAUNCH_FAILED, "%s: the mbarrier at %p was overwritten", site, (void*)at);
  return found->second;
}

void mbarrier_init(unsigned long long* at, unsigned arrivals, const char* site) {
  require_compute_capability(90, site);
  if (uintptr_t(at) % 8) fault(MISALIGNED_ADDRESS, "%s: the mbarrier at %p is not aligned to 8 bytes", site, (void*)at);
  if (!arrivals || arrivals >= 1 << 20) fault(LAUNCH_FAILED, "%s: an mbarrier of %u arrivals, 1 to 2^20 - 1 are possible", site, arrivals);
  worker->site = site;
  checked_access(at, sizeof *at, Access::WRITE, nullptr);
  worker->site = nullptr;
  *at = mark_of(at);
  Barrier barrier;
  barrier.arrivals = barrier.pending = arrivals;
  barrier.initialiser = worker->current->linear;
  worker->barriers[at] = std::move(barrier);
}

void mbarrier_fence_init() {
  for (auto& [at, barrier] : worker->barriers)
    if (barrier.initialiser == worker->current->linear) barrier.fenced = true;
}

static void end_phase_if_complete(Worker& w, Barrier& b) {
  if (b.pending || b.bytes || !b.copies.empty()) return;
  b.pending = b.arrivals;
  b.phase++;
  checked_phase_ends(b);
  for (Fiber* f : b.waiters) wake(w, f->linear / 32, 1u << f->linear % 32);
  b.waiters.clear();
}

void mbarrier_arrive_expecting(unsigned long long* at, unsigned bytes, const char* site) {
  Barrier& b = barrier_at(at, site);
  if (!b.pending) fault(LAUNCH_FAILED, "%s: more arrivals at an mbarrier than the %u of its phase", site, b.arrivals);
  b.pending--;
  b.bytes += bytes;
  if (b.bytes >= 1 << 20) fault(LAUNCH_FAILED, "%s: an mbarrier cannot await %lld bytes", site, b.bytes);
  checked_arrival(b);
  end_phase_if_complete(*worker, b);
}

void mbarrier_wait(unsigned long long* at, unsigned parity, const char* site) {
  Barrier& b = barrier_at(at, site);
  if ((b.phase & 1) == parity) {
    b.waiters.push_back(worker->current);
    wait_here(*worker, site);
  }
  checked_acquire(b);
}

// ---- TMA

// Calls `row(shared offset, address of the row, first and last byte + 1 of it that exist)` for each row of the box.
template <class F> static void each_row(const TensorMap& map, const TmaCopy& c, F row) {
  const int64_t width = map.box[0], before = std::min(std::max(-int64_t(c.at[0]), int64_t(0)), width);
  const int64_t end = std::max(std::min(int64_t(map.sizes[0]) - c.at[0], width), before);
  int w = c.at[1], h = c.at[2], n = c.at[3];
  for (unsigned i = 0; i < map.box[1]; i++) {
    const char* from = map.base + int64_t(map.strides[0]) * c.at[0];
    bool inside;
    if (map.im2col) {
      const int x = w + c.offsets[0], y = h + c.offsets[1];
      inside = x >= 0 && uint32_t(x) < map.sizes[1] && y >= 0 && uint32_t(y) < map.sizes[2] && n >= 0 && uint32_t(n) < map.sizes[3];
      from += int64_t(map.strides[1]) * x + int64_t(map.strides[2]) * y + int64_t(map.strides[3]) * n;
      if (++w >= int(map.sizes[1]) + map.upper[0]) {
        w = map.lower[0];
        if (++h >= int(map.sizes[2]) + map.upper[1]) {
          h = map.lower[1];
          n++;
        }
      }
    } else {
      const int64_t y = int64_t(c.at[1]) + i;
      inside = y >= 0 && y < map.sizes[1];
      from += int64_t(map.strides[1]) * y;
    }
    row(size_t(i) * map.box[0] * 2, from, inside ? 2 * before : 0, inside ? 2 * end : 0);
  }
}

static size_t bytes_of(const TensorMap& map) { return size_t(map.box[0]) * map.box[1] * 2; }

static void carry_out(const TmaCopy& c) {
  TensorMap map;
  memcpy(&map, c.map, sizeof map);
  each_row(map, c, [&](size_t offset, const char* from, int64_t first, int64_t end) {
    for (int64_t chunk = 0; chunk < map.box[0] * 2; chunk += 16) {
      char* to = c.shared + offset + chunk;
      // Swizzled: the three bits of the address that number the 16-byte chunk are XORed with the next three.
      if (map.swizzled) to = (char*)(uintptr_t(to) ^ (uintptr_t(to) >> 7 & 7) << 4);
      const int64_t begin = std::max(first, chunk), stop = std::min(end, chunk + 16);
      if (stop - begin < 16) memset(to, 0, 16);
      if (begin < stop) memcpy(to + (begin - chunk), from + begin, stop - begin);
    }
  });
}

static void finish(Worker& w, Barrier& b) {
  Fiber* current = w.current;
  for (auto& c : b.copies) {
    if (!c.done) carry_out(c);
    TensorMap map;
    memcpy(&map, c.map, sizeof map);
    w.current = &w.fibers[c.thread];
    checked_access(c.shared, bytes_of(map), Access::TMA_COPY_ENDS, nullptr);
    b.bytes -= bytes_of(map);
    checked_tma_copy_ends(b);
  }
  w.current = current;
  b.copies.clear();
  end_phase_if_complete(w, b);
}

bool finish_a_copy(Worker& w) {
  for (auto& [at, barrier] : w.barriers)
    if (!barrier.waiters.empty() && !barrier.copies.empty()) {
      finish(w, barrier);
      return true;
    }
  return false;
}

void tma_load(void* shared, const void* descriptor, unsigned long long* at, std::initializer_list<int> coordinates,
              std::initializer_list<unsigned short> offsets, const char* site) {
  Barrier& b = barrier_at(at, site);
  if (!b.fenced) fault(LAUNCH_FAILED, "%s: no fence made the mbarrier's initialisation visible to TMA", site);
  TensorMap map;
  memcpy(&map, descriptor, sizeof map);
  if (uintptr_t(descriptor) % 64) fault(MISALIGNED_ADDRESS, "%s: the tensor map at %p is not aligned to 64 bytes", site, descriptor);
  if (map.magic != TensorMap::MAGIC) fault(LAUNCH_FAILED, "%s: what is given as a tensor map is none", site);
  if (map.rank != coordinates.size() || map.im2col != (offsets.size() != 0))
    fault(LAUNCH_FAILED, "%s: a tensor map of %d dimensions, %s, is read as another", site, map.rank, map.im2col ? "im2col" : "tiled");
  // The swizzling pattern repeats every 1024 bytes.
  const unsigned alignment = map.swizzled ? 1024 : 128;
  if (uintptr_t(shared) % alignment) fault(MISALIGNED_ADDRESS, "%s: a TMA copy to %p needs an address aligned to %u bytes", site, shared, alignment);
  TmaCopy c{};
  c.shared = (char*)shared;
  memcpy(c.map, descriptor, sizeof c.map);
  std::copy(coordinates.begin(), coordinates.end(), c.at);
  std::copy(offsets.begin(), offsets.end(), c.offsets);
  c.thread = worker->current->linear;
  worker->site = site;
  each_row(map, c, [](size_t, const char* from, int64_t first, int64_t end) {
    if (first < end) checked_access(from + first, end - first, Access::READ, nullptr);
  });
  checked_access(shared, bytes_of(map), Access::COPY_BEGINS, nullptr);
  worker->site = nullptr;
  c.done = settings.order == Order::SHUFFLED ? random(*worker) >> 20 & 1 : settings.early_copies;
  if (c.done) carry_out(c);
  b.copies.push_back(c);
}

std::string unfinished_barriers(Worker& w) {
  std::string text;
  for (auto& [at, b] : w.barriers)
    if (!b.waiters.empty())
      text += "; an mbarrier lacks " + std::to_string(b.pending) + " arrivals and " + std::to_string(b.bytes) + " bytes";
  return text;
}

void check_tma_copies_at_exit(Worker& w) {
  for (auto& [at, b] : w.barriers)
    if (!b.copies.empty()) fault(LAUNCH_FAILED, "the block ends with a TMA copy that was not waited for");
}

}  // namespace standin
