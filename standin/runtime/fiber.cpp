// Fibers: every thread of a block has a stack of its own; a switch between two takes about ten nanoseconds.
#include "runtime.h"
#include <sys/mman.h>

// Saves the callee-saved registers on the current stack and continues on the other. The floating-point control words are the
// same in all fibers.
#if defined(__x86_64__)
asm(R"(
.text
.globl standin_switch
.hidden standin_switch
.type standin_switch,@function
standin_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size standin_switch,.-standin_switch
)");
#else
#error "the stand-in's fibers are written for x86-64"
#endif

namespace standin {

char* take_stack(Worker& w) {
  if (!w.free_stacks.empty()) {
    char* stack = w.free_stacks.back();
    w.free_stacks.pop_back();
    return stack;
  }
  const size_t size = settings.stack + PAGE;
  char* map = (char*)mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  mprotect(map, PAGE, PROT_NONE);
  // Staggered, so that the hot parts of the stacks do not share cache sets.
  return map + size - (w.stacks_made++ & 63) * 64;
}

void begin(Worker& w, Fiber& f) {
  f.stack = take_stack(w);
  void** top = (void**)f.stack;
  *--top = nullptr;             // fiber_main never returns; this keeps its frame aligned
  *--top = (void*)fiber_main;   // where the switch's `ret` goes
  for (int i = 0; i < 6; i++) *--top = nullptr;  // the six registers
  f.stack_pointer = top;
}

}  // namespace standin
