// Launches: checks the limits that a driver enforces and the pointers among the arguments, and after the kernel the gaps around the
// allocations that these point to.
#include "driver.h"
#include <cstdio>
#include <cstring>

namespace standin {

static int check_limits(const Kernel& k, dim3 grid, dim3 block, unsigned shared) {
  if (!grid.x || !grid.y || !grid.z || !block.x || !block.y || !block.z) return INVALID_VALUE;
  if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) return INVALID_VALUE;
  if (block.x > 1024 || block.y > 1024 || block.z > 64) return INVALID_VALUE;
  if (block.x * block.y * block.z > (unsigned)k.max_threads) return INVALID_VALUE;
  if (shared > (unsigned)k.max_dynamic_shared) return INVALID_VALUE;
  return OK;
}

static const char* at(const Argument& a, void** parameters) { return (const char*)parameters[a.parameter] + a.offset; }

// The first word of each argument as an integer: the value of an int; for a pointer 1, or 0 if it is null.
static std::vector<int> first_words(const Kernel& k, void** parameters) {
  std::vector<int> words(k.argument_count);
  for (int i = 0; i < k.argument_count; i++) {
    if (k.arguments[i].pointer)
      words[i] = *(void* const*)at(k.arguments[i], parameters) != nullptr;
    else
      memcpy(&words[i], at(k.arguments[i], parameters), sizeof(int));
  }
  return words;
}

static void trace(const Kernel& k, dim3 grid, dim3 block, unsigned shared, const std::vector<int>& words) {
  static FILE* file = fopen(settings.trace, "w");
  if (!file) return;
  fprintf(file, "{\"kernel\": \"%s\", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u], \"shared\": %u, \"arguments\": [", k.name, grid.x, grid.y,
          grid.z, block.x, block.y, block.z, shared);
  for (size_t i = 0; i < words.size(); i++) {
    const Argument& a = k.arguments[i];
    fprintf(file, "%s[\"%s\", %u, %s, %d]", i ? ", " : "", a.name ? a.name : "", a.offset, a.pointer ? "true" : "false", words[i]);
  }
  fprintf(file, "]}\n");
  fflush(file);
}

}  // namespace standin
using namespace standin;

static int launch(void* function, dim3 grid, dim3 block, unsigned shared, void* stream, void** parameters, bool ahead) {
  if (!current_context) return INVALID_CONTEXT;
  if (sticky_error) return sticky_error;
  const auto* kernel = (const Kernel*)function;
  if (int error = check_limits(*kernel, grid, block, shared)) {
    report("kernel %s cannot be launched with grid (%u,%u,%u), block (%u,%u,%u), %u bytes of dynamic shared memory; it takes up to %d threads and %d bytes",
           kernel->name, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, kernel->max_threads, kernel->max_dynamic_shared);
    return error;
  }
  std::vector<void*> pointers;
  for (int i = 0; i < kernel->argument_count; i++) {
    const Argument& argument = kernel->arguments[i];
    if (!argument.pointer) continue;
    void* p;
    memcpy(&p, at(argument, parameters), sizeof p);
    if (!p) continue;
    pointers.push_back(p);
    if (find_allocation(p)) continue;
    const std::string name = argument.name ? argument.name : std::to_string(i);
    report("kernel %s: parameter %s, %p, is not device memory", kernel->name, name.c_str(), p);
    return sticky_error = ILLEGAL_ADDRESS;
  }
  std::shared_ptr<void> packed(kernel->pack(parameters), kernel->unpack);
  std::vector<int> words;
  if (settings.trace) words = first_words(*kernel, parameters);
  return submit(stream_of(stream), Node::KERNEL, [=]() -> int {
    if (settings.trace) trace(*kernel, grid, block, shared, words);
    if (settings.dry) return 0;
    if (int error = run_launch({kernel, packed.get(), grid, block, shared, ahead})) return error;
    for (void* p : pointers) {
      Allocation* a = find_allocation(p);
      if (!a || !gap_spoilt(*a)) continue;
      report("kernel %s: %s", kernel->name, last_report().c_str());
      return ILLEGAL_ADDRESS;
    }
    return 0;
  });
}

API cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                   unsigned shared, void* stream, void** parameters, void** extra) {
  LOCK;
  if (extra) return NOT_SUPPORTED;
  return launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, stream, parameters, false);
}

// CUlaunchConfig and CUlaunchAttribute.
struct LaunchAttribute {
  int id;
  alignas(8) int value[16];
};
struct LaunchConfig {
  unsigned grid[3], block[3], shared;
  void* stream;
  const LaunchAttribute* attributes;
  unsigned count;
};
API cuLaunchKernelEx(const LaunchConfig* c, void* function, void** parameters, void** extra) {
  LOCK;
  if (extra) return NOT_SUPPORTED;
  constexpr int PROGRAMMATIC_STREAM_SERIALIZATION = 6;
  bool ahead = false;
  for (unsigned i = 0; i < c->count; i++) {
    if (c->attributes[i].id != PROGRAMMATIC_STREAM_SERIALIZATION) return NOT_SUPPORTED;
    ahead = c->attributes[i].value[0] && settings.compute_capability >= 90;
  }
  return launch(function, {c->grid[0], c->grid[1], c->grid[2]}, {c->block[0], c->block[1], c->block[2]}, c->shared, c->stream, parameters, ahead);
}
API cuLaunchCooperativeKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**) { return NOT_SUPPORTED; }
