// Asynchronous copies happen as late as allowed, at the wait for their group, so that a wait that is missing or too weak shows as
// stale data. `early_copies` does them at once, the other extreme. The checked build also tracks which bytes are in flight.
#include "runtime.h"
#include <cstring>

namespace standin {

// Bytes of a copy: of the three sizes of cp.async the kernels use only this one.
constexpr int COPIED = 16;

static void carry_out(const AsyncCopy& c) {
  memcpy(c.shared, c.global, c.bytes);
  memset((char*)c.shared + c.bytes, 0, COPIED - c.bytes);
}

void cp_async(void* shared, const void* global, int bytes, const char* site) {
  require_compute_capability(80, site);
  if (bytes < 0 || bytes > COPIED) fault(LAUNCH_FAILED, "%s: cp.async of %d bytes with %d from memory", site, COPIED, bytes);
  if ((uintptr_t(shared) | uintptr_t(global)) & (COPIED - 1))
    fault(MISALIGNED_ADDRESS, "%s: cp.async needs addresses aligned to %d bytes: shared %p, global %p", site, COPIED, shared, global);
  worker->site = site;
  if (bytes) checked_access(global, bytes, Access::READ, nullptr);
  checked_access(shared, COPIED, Access::COPY_BEGINS, nullptr);
  worker->site = nullptr;
  auto& groups = worker->current->copies;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({shared, global, bytes, site});
  if (settings.early_copies) carry_out(groups.back().back());
}

void cp_async_commit() {
  auto& groups = worker->current->copies;
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

void cp_async_wait(int keep) {
  auto& groups = worker->current->copies;
  while ((int)groups.size() > keep + 1) {
    for (auto& c : groups.front()) {
      if (!settings.early_copies) carry_out(c);
      checked_access(c.shared, COPIED, Access::COPY_ENDS, nullptr);
    }
    groups.erase(groups.begin());
  }
}

// A copy that is never waited for is a fault.
void check_copies_at_exit(Fiber& f) {
  for (auto& group : f.copies)
    if (!group.empty()) fault(LAUNCH_FAILED, "the thread ends with a cp.async that was not waited for, from %s", group[0].site);
  f.copies.clear();
}

void shared_row_read(const void* row, unsigned bytes, const char* instruction, const char* site) {
  if (uintptr_t(row) & 15) fault(MISALIGNED_ADDRESS, "%s: %s row at %p is not 16-byte aligned", site, instruction, row);
  worker->site = site;
  checked_access(row, bytes, Access::READ, nullptr);
  worker->site = nullptr;
}

}  // namespace standin
