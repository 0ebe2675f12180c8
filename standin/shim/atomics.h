// Atomic operations. Real ones, since blocks may run on several threads of the host.
#pragma once

namespace standin {
template <class T, class Change> STANDIN_UNCHECKED inline T atomic(T* p, T operand, T expected = T()) {
  note_atomic(p, sizeof(T));
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  static_assert(sizeof(T) == sizeof(Bits));
  auto* bits = reinterpret_cast<Bits*>(p);
  Bits old = __atomic_load_n(bits, __ATOMIC_RELAXED);
  for (;;) {
    T before;
    __builtin_memcpy((void*)&before, &old, sizeof old);
    const T after = Change::of(before, operand, expected);
    Bits changed;
    __builtin_memcpy(&changed, (const void*)&after, sizeof after);
    if (__atomic_compare_exchange_n(bits, &old, changed, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return before;
  }
}
}  // namespace standin

#define STANDIN_ATOMIC(NAME, EXPRESSION)                                                                       \
  namespace standin {                                                                                          \
  struct NAME##Change {                                                                                        \
    template <class T> STANDIN_UNCHECKED static T of(T old, T operand, T) { return EXPRESSION; }               \
  };                                                                                                           \
  }                                                                                                            \
  template <class T> inline T NAME(T* p, std::common_type_t<T> operand) { return standin::atomic<T, standin::NAME##Change>(p, operand); }
STANDIN_ATOMIC(atomicAdd, T(old + operand))
STANDIN_ATOMIC(atomicSub, T(old - operand))
STANDIN_ATOMIC(atomicMin, operand < old ? operand : old)
STANDIN_ATOMIC(atomicMax, operand > old ? operand : old)
STANDIN_ATOMIC(atomicAnd, T(old & operand))
STANDIN_ATOMIC(atomicOr, T(old | operand))
STANDIN_ATOMIC(atomicXor, T(old ^ operand))
STANDIN_ATOMIC(atomicExch, (void(old), operand))
STANDIN_ATOMIC(atomicInc, old >= operand ? T(0) : T(old + 1))
STANDIN_ATOMIC(atomicDec, old == 0 || old > operand ? operand : T(old - 1))

namespace standin {
struct CompareAndSwap {
  template <class T> STANDIN_UNCHECKED static T of(T old, T operand, T expected) { return old == expected ? operand : old; }
};
}  // namespace standin
template <class T> inline T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> value) {
  return standin::atomic<T, standin::CompareAndSwap>(p, value, expected);
}
