// Barriers, shuffles, votes and warp reductions. Macros where the place of the call goes into a report.
#pragma once

namespace standin {

// ---- shuffles: each lane passes its value and where it reads from, and gets the value of that lane
enum class Shuffle { FROM, UP, DOWN, XOR };
template <class T> struct ShuffleLane {
  T value, result;
  int argument, width;
};
template <class T, Shuffle KIND> STANDIN_UNCHECKED void shuffle_warp(unsigned mask, void* const* lanes) {
  for (unsigned left = mask; left; left &= left - 1) {
    const int lane = __builtin_ctz(left);
    auto& x = *static_cast<ShuffleLane<T>*>(lanes[lane]);
    const int first = lane & ~(x.width - 1), end = first + x.width;
    int from = 0;
    if (KIND == Shuffle::FROM) from = first + (x.argument & (x.width - 1));
    if (KIND == Shuffle::UP) from = lane - x.argument < first ? lane : lane - x.argument;
    if (KIND == Shuffle::DOWN) from = lane + x.argument >= end ? lane : lane + x.argument;
    if (KIND == Shuffle::XOR) from = (lane ^ x.argument) >= end ? lane : lane ^ x.argument;
    if (mask >> from & 1) {
      x.result = static_cast<ShuffleLane<T>*>(lanes[from])->value;
    } else {
      note_absent_lane(lane, from);
      __builtin_memset((void*)&x.result, 0xFF, sizeof(T));
    }
  }
}
template <Shuffle KIND, class T> STANDIN_UNCHECKED inline T shuffle(const char* site, unsigned mask, T value, int argument, int width = 32) {
  ShuffleLane<T> lane{value, value, argument, width};
  warp_collective(mask, shuffle_warp<T, KIND>, &lane, site);
  return lane.result;
}

// ---- votes
struct VoteLane {
  bool predicate;
  unsigned ballot, voters;
};
STANDIN_UNCHECKED inline void vote_warp(unsigned mask, void* const* lanes) {
  unsigned ballot = 0;
  for (unsigned left = mask; left; left &= left - 1) {
    const int lane = __builtin_ctz(left);
    ballot |= unsigned(static_cast<VoteLane*>(lanes[lane])->predicate) << lane;
  }
  for (unsigned left = mask; left; left &= left - 1) {
    auto& x = *static_cast<VoteLane*>(lanes[__builtin_ctz(left)]);
    x.ballot = ballot;
    x.voters = mask;
  }
}
STANDIN_UNCHECKED inline VoteLane vote(unsigned mask, bool predicate, const char* site) {
  VoteLane lane{predicate, 0, 0};
  warp_collective(mask, vote_warp, &lane, site);
  return lane;
}

// ---- reductions of integers (sm_80)
template <class T> struct ReduceLane {
  T value, result;
};
template <class T, class Operation> STANDIN_UNCHECKED void reduce_warp(unsigned mask, void* const* lanes) {
  T total = static_cast<ReduceLane<T>*>(lanes[__builtin_ctz(mask)])->value;
  for (unsigned left = mask & (mask - 1); left; left &= left - 1)
    total = Operation::of(total, static_cast<ReduceLane<T>*>(lanes[__builtin_ctz(left)])->value);
  for (unsigned left = mask; left; left &= left - 1) static_cast<ReduceLane<T>*>(lanes[__builtin_ctz(left)])->result = total;
}
template <template <class> class Operation, class T> STANDIN_UNCHECKED inline T reduce(unsigned mask, T value, const char* site) {
  require_compute_capability(80, site);
  ReduceLane<T> lane{value, value};
  warp_collective(mask, reduce_warp<T, Operation<T>>, &lane, site);
  return lane.result;
}
#define STANDIN_OPERATION(NAME, EXPRESSION) \
  template <class T> struct NAME { STANDIN_UNCHECKED static T of(T a, T b) { return EXPRESSION; } };
STANDIN_OPERATION(Add, T(unsigned(a) + unsigned(b)))
STANDIN_OPERATION(Min, a < b ? a : b)
STANDIN_OPERATION(Max, a > b ? a : b)
STANDIN_OPERATION(And, a & b)
STANDIN_OPERATION(Or, a | b)
STANDIN_OPERATION(Xor, a ^ b)

inline void sync_warp_here(const char* site, unsigned mask = ~0u) { sync_warp(mask, site); }

}  // namespace standin

#define __syncthreads() standin::sync_block(STANDIN_SITE)
#define __syncthreads_count(predicate) int(standin::sync_block_count(predicate, STANDIN_SITE))
#define __syncthreads_or(predicate) int(standin::sync_block_count(predicate, STANDIN_SITE) != 0)
#define __syncthreads_and(predicate) int(standin::sync_block_count(!(predicate), STANDIN_SITE) == 0)
#define __syncwarp(...) standin::sync_warp_here(STANDIN_SITE __VA_OPT__(, ) __VA_ARGS__)
#define __shfl_sync(...) standin::shuffle<standin::Shuffle::FROM>(STANDIN_SITE, __VA_ARGS__)
#define __shfl_up_sync(...) standin::shuffle<standin::Shuffle::UP>(STANDIN_SITE, __VA_ARGS__)
#define __shfl_down_sync(...) standin::shuffle<standin::Shuffle::DOWN>(STANDIN_SITE, __VA_ARGS__)
#define __shfl_xor_sync(...) standin::shuffle<standin::Shuffle::XOR>(STANDIN_SITE, __VA_ARGS__)
#define __ballot_sync(mask, predicate) (standin::vote(mask, predicate, STANDIN_SITE).ballot)
#define __any_sync(mask, predicate) int(standin::vote(mask, predicate, STANDIN_SITE).ballot != 0)
#define __all_sync(mask, predicate) int(standin::vote(mask, !(predicate), STANDIN_SITE).ballot == 0)
#define __reduce_add_sync(mask, value) standin::reduce<standin::Add>(mask, value, STANDIN_SITE)
#define __reduce_min_sync(mask, value) standin::reduce<standin::Min>(mask, value, STANDIN_SITE)
#define __reduce_max_sync(mask, value) standin::reduce<standin::Max>(mask, value, STANDIN_SITE)
#define __reduce_and_sync(mask, value) standin::reduce<standin::And>(mask, value, STANDIN_SITE)
#define __reduce_or_sync(mask, value) standin::reduce<standin::Or>(mask, value, STANDIN_SITE)
#define __reduce_xor_sync(mask, value) standin::reduce<standin::Xor>(mask, value, STANDIN_SITE)

inline void __threadfence() { standin::note_fence(); }
inline void __threadfence_block() {}

#undef assert
#define assert(condition) \
  ((condition) ? (void)0 : standin::fault(standin::ASSERTION, "%s: assertion failed: %s", STANDIN_SITE, #condition))
