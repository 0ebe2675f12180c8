// Warp collectives: lanes that call the same operation with the same mask meet; the last to arrive carries it out for all.
#include "runtime.h"

namespace standin {

// Carries a collective out if all its lanes have come. Lanes that have exited are not waited for.
bool complete(Worker& w, unsigned warp_number, int i, int caller) {
  Warp& warp = w.warps[warp_number];
  Collective collective = warp.collectives[i];
  const uint32_t needed = collective.mask & warp.live;
  if (!needed || (collective.arrived & needed) != needed) return false;
  warp.collectives[i] = warp.collectives[--warp.open];
  collective.operation(collective.arrived, warp.lanes);
  wake(w, warp_number, caller >= 0 ? collective.arrived & ~(1u << caller) : collective.arrived);
  return true;
}

void warp_collective(unsigned mask, WarpOperation operation, void* argument, const char* site) {
  Worker& w = *worker;
  const unsigned number = w.current->linear / 32, lane = w.current->linear % 32;
  Warp& warp = w.warps[number];
  if (!(mask >> lane & 1)) fault(LAUNCH_FAILED, "%s: the calling lane %u is not in the mask %08x", site, lane, mask);
  warp.lanes[lane] = argument;
  int i = 0;
  while (i < warp.open && !(warp.collectives[i].mask == mask && warp.collectives[i].operation == operation && !(warp.collectives[i].arrived >> lane & 1))) i++;
  if (i == warp.open) {
    if (warp.open == 4) fault(LAUNCH_FAILED, "%s: the warp is in five different collectives at once", site);
    warp.collectives[warp.open++] = {mask, 0, operation, site};
  }
  warp.collectives[i].arrived |= 1u << lane;
  if (!complete(w, number, i, lane)) wait_here(w, site);
}

// Only __syncwarp orders memory; shuffles, votes and matrix instructions do not.
static void sync_operation(unsigned mask, void* const*) {
  Worker& w = *worker;
  Warp& warp = w.warps[w.current->linear / 32];
  if ((mask & warp.live) == warp.live) checked_warp_synced(w, warp);
}

void sync_warp(unsigned mask, const char* site) {
  int nothing;
  warp_collective(mask, sync_operation, &nothing, site);
}

void note_absent_lane(unsigned lane, int from) {
  if (CHECKED) fault(LAUNCH_FAILED, "lane %u reads from lane %d, which does not take part in the shuffle", lane, from);
}

void require_compute_capability(int at_least, const char* site) {
  if (settings.compute_capability < at_least)
    fault(ILLEGAL_INSTRUCTION, "%s: the instruction needs sm_%d, the device is sm_%d", site, at_least, settings.compute_capability);
}

}  // namespace standin
