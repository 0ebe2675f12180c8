// Matrix products of four warps happen as late as allowed, at the wait for their group: operands that are overwritten before, and sums
// that are read before, show as wrong numbers. `early_copies` does them at once.
#include "runtime.h"
#include <cstring>

namespace standin {

// Element (row, depth) of an operand: rows of 128 bytes whose chunks of 16 bytes are swapped by the row modulo 8, as the address has it.
static float element(const void* operand, int row, int depth) {
  uintptr_t at = uintptr_t(operand) + 128 * row + 2 * depth;
  at ^= (at >> 7 & 7) << 4;
  const uint32_t bits = uint32_t(*reinterpret_cast<const uint16_t*>(at)) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void carry_out(const Product& p, const Fiber& f) {
  const int warp = f.linear / 32 % 4, lane = f.linear % 32;
  for (int i = 0; i < p.columns / 2; i++) {
    const int row = 16 * warp + lane / 4 + (i & 2 ? 8 : 0), column = 8 * (i / 4) + 2 * (lane % 4) + (i & 1);
    float sum = 0.0f;
    for (int depth = 0; depth < 16; depth++) sum = __builtin_fmaf(element(p.a, row, depth), element(p.b, column, depth), sum);
    p.sums[i] += sum;
  }
}

void wgmma(float* sums, int columns, const void* a, const void* b, const char* site) {
  require_compute_capability(90, site);
  for (const void* operand : {a, b})
    if ((uintptr_t(operand) & 1023) % 32 || (uintptr_t(operand) & 1023) > 96)
      fault(MISALIGNED_ADDRESS, "%s: an operand of wgmma at %p, up to three times 32 bytes behind a multiple of 1024", site, operand);
  Fiber& f = *worker->current;
  if (f.unfenced) fault(LAUNCH_FAILED, "%s: cp.async wrote shared memory and no fence made it visible to wgmma", site);
  // Each row that this thread's part reads, as the checked build sees it.
  const int warp = f.linear / 32 % 4, lane = f.linear % 32;
  const char* first = static_cast<const char*>(a) - (uintptr_t(a) & 127);
  for (int half = 0; half < 2; half++) shared_row_read(first + 128 * (16 * warp + lane / 4 + 8 * half), 128, "wgmma", site);
  auto& groups = f.products;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({sums, columns, a, b, site});
  if (settings.early_copies) carry_out(groups.back().back(), f);
}

void fence_shared_for_wgmma() { worker->current->unfenced = false; }

void wgmma_commit() {
  auto& groups = worker->current->products;
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

void wgmma_wait(int keep) {
  Fiber& f = *worker->current;
  while ((int)f.products.size() > keep + 1) {
    if (!settings.early_copies)
      for (auto& p : f.products.front()) carry_out(p, f);
    f.products.erase(f.products.begin());
  }
}

void check_products_at_exit(Fiber& f) {
  for (auto& group : f.products)
    if (!group.empty()) fault(LAUNCH_FAILED, "the thread ends with a wgmma that was not waited for, from %s", group[0].site);
  f.products.clear();
}

}  // namespace standin
