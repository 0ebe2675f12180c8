// Device memory. Each allocation has a mapping of its own between two inaccessible guard pages and ends as close to the second as the
// 256-byte alignment of a real driver allows. It is filled with 0xFF, NaN as a float; the gaps around it hold a pattern that is checked
// after each launch and when the allocation is freed, so that a write a few bytes out of bounds is found too.
#include "driver.h"
#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>

namespace standin {

using Pointer = unsigned long long;
static std::map<char*, Allocation*>& allocations() {
  static auto& map = *new std::map<char*, Allocation*>;
  return map;
}
static std::map<char*, size_t>& pinned() {
  static auto& map = *new std::map<char*, size_t>;
  return map;
}
static size_t bytes_in_use;
static Allocation* found_last;

Allocation* find_allocation(const void* p) {
  char* address = (char*)p;
  auto holds = [&](Allocation* a) { return address >= a->mapping && address < a->mapping + a->mapping_size; };
  if (found_last && holds(found_last)) return found_last;
  auto after = allocations().upper_bound(address);
  // An address in the first page of an allocation lies before its base: look at the next allocation too.
  if (after != allocations().end() && holds(after->second)) return found_last = after->second;
  if (after != allocations().begin() && holds(std::prev(after)->second)) return found_last = std::prev(after)->second;
  return nullptr;
}

// ---- gaps hold signalling NaNs: a value that is computed from one and written back differs from it
static char gap_byte(const char* at) {
  static const unsigned char pattern[4] = {0xA5, 0xA5, 0xA5, 0x7F};
  return pattern[(uintptr_t)at & 3];
}
template <class F> static bool any_gap_byte(const Allocation& a, F f) {
  for (char* c = a.mapping + PAGE; c < a.base; c++)
    if (f(c)) return true;
  for (char* c = a.base + a.size; c < a.mapping + a.mapping_size - PAGE; c++)
    if (f(c)) return true;
  return false;
}
bool gap_spoilt(const Allocation& a) {
  return any_gap_byte(a, [&](char* c) {
    if (*c == gap_byte(c)) return false;
    report("write at offset %zd of an allocation of %zu bytes", c - a.base, a.size);
    return true;
  });
}

int allocate(Pointer* p, size_t bytes) {
  if (bytes > settings.memory || bytes_in_use > settings.memory - bytes) return OUT_OF_MEMORY;
  const size_t padded = (bytes + 255) & ~size_t(255), body = (padded + PAGE - 1) & ~(PAGE - 1);
  char* map = (char*)mmap(nullptr, body + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) return OUT_OF_MEMORY;
  if (mprotect(map + PAGE, body, PROT_READ | PROT_WRITE)) {
    munmap(map, body + 2 * PAGE);
    return OUT_OF_MEMORY;
  }
  auto* a = new Allocation{map + PAGE + body - padded, bytes, map, body + 2 * PAGE};
  if (!settings.dry) memset(a->base, 0xFF, bytes);
  any_gap_byte(*a, [](char* c) { return *c = gap_byte(c), false; });
  allocations()[a->base] = a;
  bytes_in_use += bytes;
  *p = (Pointer)a->base;
  return OK;
}
int release(Pointer p) {
  if (!p) return OK;
  auto it = allocations().find((char*)p);
  if (it == allocations().end()) return INVALID_VALUE;
  Allocation* a = it->second;
  allocations().erase(it);
  found_last = nullptr;
  bytes_in_use -= a->size;
  const bool spoilt = !sticky_error && gap_spoilt(*a);
  munmap(a->mapping, a->mapping_size);
  free_shadow(*a);
  delete a;
  return spoilt ? sticky_error = ILLEGAL_ADDRESS : OK;
}

// ---- copies

static bool is_pinned(const void* p) {
  auto after = pinned().upper_bound((char*)p);
  if (after == pinned().begin()) return false;
  auto& [base, size] = *std::prev(after);
  return (char*)p < base + size;
}
// The allocation that holds a whole range, or null with a report.
static Allocation* range(Pointer p, size_t bytes) {
  Allocation* a = find_allocation((void*)p);
  if (a && (char*)p >= a->base && (char*)p + bytes <= a->base + a->size) return a;
  report("copy or fill of %zu bytes at %#llx, which is not within one allocation", bytes, p);
  return nullptr;
}
static int write_range(Pointer to, const void* from, size_t bytes) {
  Allocation* a = range(to, bytes);
  if (!a) return INVALID_VALUE;
  if (settings.dry) return OK;
  memcpy((void*)to, from, bytes);
  mark_written(*a, (char*)to - a->base, bytes);
  return OK;
}
static int read_range(void* to, Pointer from, size_t bytes) {
  if (!range(from, bytes)) return INVALID_VALUE;
  memcpy(to, (void*)from, bytes);
  return OK;
}
static int move_range(Pointer to, Pointer from, size_t bytes) {
  Allocation *target = range(to, bytes), *source = range(from, bytes);
  if (!target || !source) return INVALID_VALUE;
  if (settings.dry) return OK;
  memmove((void*)to, (void*)from, bytes);
  copy_written(*target, (char*)to - target->base, *source, (char*)from - source->base, bytes);
  return OK;
}
template <class T> static int fill_range(Pointer to, T value, size_t count) {
  Allocation* a = range(to, count * sizeof(T));
  if (!a) return INVALID_VALUE;
  if (settings.dry) return OK;
  std::fill_n((T*)to, count, value);
  mark_written(*a, (char*)to - a->base, count * sizeof(T));
  return OK;
}

}  // namespace standin
using namespace standin;

// ---- allocation

API cuMemAlloc_v2(Pointer* p, size_t bytes) {
  LOCK;
  if (!current_context) return INVALID_CONTEXT;
  if (!bytes) return INVALID_VALUE;
  if (sticky_error) return sticky_error;
  if (int error = forbid_during_captures()) return error;
  return allocate(p, bytes);
}
API cuMemAllocAsync(Pointer* p, size_t bytes, void* stream) {
  LOCK;
  if (!current_context) return INVALID_CONTEXT;
  if (sticky_error) return sticky_error;
  if (auto& capture = stream_of(stream)->capture) {  // allocations in graphs are not implemented
    capture->invalid = true;
    return NOT_SUPPORTED;
  }
  if (!bytes) return *p = 0, OK;
  if (int error = allocate(p, bytes); error != OUT_OF_MEMORY) return error;
  drain_all();  // frees that are still queued
  return allocate(p, bytes);
}
API cuMemFree_v2(Pointer p) {
  LOCK;
  if (!p) return OK;
  if (int error = forbid_during_captures()) return error;
  drain_all();
  const int error = release(p);
  return sticky_error ? sticky_error : error;
}
API cuMemFreeAsync(Pointer p, void* stream) {
  LOCK;
  Stream* s = stream_of(stream);
  if (s->capture) {
    s->capture->invalid = true;
    return NOT_SUPPORTED;
  }
  if (sticky_error) {
    release(p);
    return sticky_error;
  }
  return submit_unrecorded(s, [p] { return release(p); });
}
API cuMemGetInfo_v2(size_t* available, size_t* total) {
  LOCK;
  if (!current_context) return INVALID_CONTEXT;
  *total = settings.memory;
  *available = settings.memory > bytes_in_use ? settings.memory - bytes_in_use : 0;
  return sticky_error;
}
API cuMemHostAlloc(void** p, size_t bytes, unsigned) {
  LOCK;
  if (sticky_error) return sticky_error;
  if (posix_memalign(p, 4096, bytes ? bytes : 1)) return OUT_OF_MEMORY;
  memset(*p, 0xFF, bytes);
  pinned()[(char*)*p] = bytes;
  return OK;
}
API cuMemFreeHost(void* p) {
  LOCK;
  if (int error = forbid_during_captures()) return error;
  drain_all();
  if (!pinned().erase((char*)p)) return INVALID_VALUE;
  free(p);
  return sticky_error;
}

// ---- asynchronous copies. From pageable memory the data is staged before the call returns; to pageable memory the call returns when the
// copy is complete; pinned memory is read and written when the copy runs.

API cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* stream) {
  LOCK;
  if (!bytes) return OK;
  if (!range(to, bytes)) return INVALID_VALUE;
  Stream* s = stream_of(stream);
  if (is_pinned(from) || s->capture) return submit(s, Node::MEMCPY, [=] { return write_range(to, from, bytes); });
  auto staged = std::make_shared<std::vector<char>>((const char*)from, (const char*)from + bytes);
  return submit(s, Node::MEMCPY, [=] { return write_range(to, staged->data(), bytes); });
}
API cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* stream) {
  LOCK;
  if (!bytes) return OK;
  if (!range(from, bytes)) return INVALID_VALUE;
  Stream* s = stream_of(stream);
  const int error = submit(s, Node::MEMCPY, [=] { return read_range(to, from, bytes); });
  if (error || is_pinned(to) || s->capture) return error;
  return drain(s);
}
API cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void* stream) {
  LOCK;
  if (!bytes) return OK;
  if (!range(to, bytes) || !range(from, bytes)) return INVALID_VALUE;
  return submit(stream_of(stream), Node::MEMCPY, [=] { return move_range(to, from, bytes); });
}
API cuMemcpyPeerAsync(Pointer to, void*, Pointer from, void*, size_t bytes, void* stream) { return cuMemcpyDtoDAsync_v2(to, from, bytes, stream); }
API cuMemsetD8Async(Pointer to, unsigned char value, size_t count, void* stream) {
  LOCK;
  if (!count) return OK;
  if (!range(to, count)) return INVALID_VALUE;
  return submit(stream_of(stream), Node::MEMSET, [=] { return fill_range(to, value, count); });
}
API cuMemsetD16Async(Pointer to, unsigned short value, size_t count, void* stream) {
  LOCK;
  if (!count) return OK;
  if (!range(to, 2 * count)) return INVALID_VALUE;
  return submit(stream_of(stream), Node::MEMSET, [=] { return fill_range(to, value, count); });
}
API cuMemsetD32Async(Pointer to, unsigned value, size_t count, void* stream) {
  LOCK;
  if (!count) return OK;
  if (!range(to, 4 * count)) return INVALID_VALUE;
  return submit(stream_of(stream), Node::MEMSET, [=] { return fill_range(to, value, count); });
}

// ---- synchronous copies, on the null stream; they wait for the other streams

template <class F> static int synchronously(F copy) {
  LOCK;
  if (int error = forbid_during_captures()) return error;
  drain_all();
  if (int error = copy()) return error;
  return drain_all();
}
API cuMemcpyHtoD_v2(Pointer to, const void* from, size_t bytes) { return synchronously([=] { return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr); }); }
API cuMemcpyDtoH_v2(void* to, Pointer from, size_t bytes) { return synchronously([=] { return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr); }); }
API cuMemcpyDtoD_v2(Pointer to, Pointer from, size_t bytes) { return synchronously([=] { return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr); }); }
API cuMemsetD8_v2(Pointer to, unsigned char value, size_t count) { return synchronously([=] { return cuMemsetD8Async(to, value, count, nullptr); }); }
API cuMemsetD32_v2(Pointer to, unsigned value, size_t count) { return synchronously([=] { return cuMemsetD32Async(to, value, count, nullptr); }); }
