// Matrix products of warpgroups (WGMMA) happen as late as allowed, at the wait for their group: operands that are overwritten before it,
// and accumulators that are read before it, give wrong numbers. `early_copies` does them at once.
#include "runtime.h"
#include <cstring>

namespace standin {

// Where element (row, depth) of an operand lies: in rows of 128 bytes with 128-byte swizzling, which goes by the bits of the address.
static const char* place(const Operand& o, bool mn_major, int row, int depth) {
  uintptr_t at = uintptr_t(o.at);
  at += mn_major ? size_t(row / 64) * o.block + 128 * depth + 2 * (row % 64) : 128 * row + 2 * depth;
  return reinterpret_cast<const char*>(at ^ (at >> 7 & 7) << 4);
}

static float element(const Operand& o, bool mn_major, int row, int depth) {
  uint16_t half;
  memcpy(&half, place(o, mn_major, row, depth), sizeof half);
  const uint32_t bits = uint32_t(half) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void carry_out(const Product& p, const Fiber& f) {
  const int warp = f.linear / 32 % 4, lane = f.linear % 32;
  float a[2][16];
  for (int half = 0; half < 2; half++)
    for (int depth = 0; depth < 16; depth++) a[half][depth] = element(p.a, p.mn_major, 16 * warp + lane / 4 + 8 * half, depth);
  for (int i = 0; i < p.columns / 2; i++) {
    const int column = 8 * (i / 4) + 2 * (lane % 4) + (i & 1);
    float sum = 0.0f;
    for (int depth = 0; depth < 16; depth++) sum = __builtin_fmaf(a[i >> 1 & 1][depth], element(p.b, p.mn_major, column, depth), sum);
    p.sums[i] += sum;
  }
}

// This thread's share of what its warp reads, for the checked build: chunks of eight depths, or of eight rows at one depth.
static void note_reads(const Product& p, const Fiber& f) {
  const int warp = f.linear / 32 % 4, lane = f.linear % 32;
  auto note = [&](const Operand& o, int first, int rows) {
    for (int chunk = lane; chunk < 2 * rows; chunk += 32) {
      const int row = p.mn_major ? chunk / 16 * 8 : chunk / 2, depth = p.mn_major ? chunk % 16 : chunk % 2 * 8;
      shared_row_read(place(o, p.mn_major, first + row, depth), 16, "wgmma", p.site);
    }
  };
  note(p.a, 16 * warp, 16);
  note(p.b, 0, p.columns);
}

void wgmma(float* sums, int columns, bool mn_major, Operand a, Operand b, const char* site) {
  require_compute_capability(90, site);
  for (const Operand& operand : {a, b}) {
    const unsigned behind = uintptr_t(operand.at) & 1023;
    if (mn_major ? behind || operand.block % 1024 : behind % 32 || behind > 96)
      fault(MISALIGNED_ADDRESS, "%s: an operand of wgmma at %p: parts start at multiples of 1024 bytes", site, operand.at);
  }
  Fiber& f = *worker->current;
  if (!f.sums_fenced) fault(LAUNCH_FAILED, "%s: no wgmma_fence since the sums' registers were free", site);
  auto& groups = f.products;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({sums, columns, mn_major, a, b, site});
  note_reads(groups.back().back(), f);
  if (settings.early_copies) carry_out(groups.back().back(), f);
}

void wgmma_fence() { worker->current->sums_fenced = true; }

void wgmma_commit() {
  auto& groups = worker->current->products;
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

void wgmma_wait(int keep, const char* site) {
  Fiber& f = *worker->current;
  while ((int)f.products.size() > keep + 1) {
    for (auto& p : f.products.front()) {
      // From here on the operands may be overwritten.
      note_reads(p, f);
      if (!settings.early_copies) carry_out(p, f);
    }
    f.products.erase(f.products.begin());
  }
  if (keep == 0) f.sums_fenced = false;
  // The whole warp waits, so the reads of all its lanes are ordered before what follows.
  sync_warp(~0u, site);
}

void check_products_at_exit(Fiber& f) {
  for (auto& group : f.products)
    if (!group.empty()) fault(LAUNCH_FAILED, "the thread ends with a wgmma that was not waited for, from %s", group[0].site);
  f.products.clear();
  f.sums_fenced = false;
}

}  // namespace standin
