// Modules and functions. Of the image that a program loads only the format is checked; the kernels are those of the libraries in the folder
// "kernels" beside this one, all of which are loaded at the start. A kernel is found by its name.
#include "driver.h"
#include <algorithm>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <map>

namespace standin {

static std::map<std::string, Kernel*>& kernels() {
  static auto& map = *new std::map<std::string, Kernel*>;
  return map;
}
void register_kernel(Kernel* kernel) {
  if (!kernels().emplace(kernel->name, kernel).second) report("two kernels are named %s", kernel->name);
}
Kernel* find_kernel(const char* name) {
  auto it = kernels().find(name);
  return it == kernels().end() ? nullptr : it->second;
}

int load_kernels() {
  Dl_info self;
  dladdr((void*)load_kernels, &self);
  const std::string path = self.dli_fname, folder = path.substr(0, path.rfind('/') + 1) + "kernels/";
  DIR* directory = opendir(folder.c_str());
  if (!directory) {
    report("%s cannot be read", folder.c_str());
    return INVALID_IMAGE;
  }
  std::vector<std::string> names;
  while (dirent* entry = readdir(directory))
    if (strlen(entry->d_name) > 3 && !strcmp(entry->d_name + strlen(entry->d_name) - 3, ".so")) names.push_back(entry->d_name);
  closedir(directory);
  std::sort(names.begin(), names.end());
  for (auto& name : names)
    if (!dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL)) {
      report("%s", dlerror());
      return INVALID_IMAGE;
    }
  return OK;
}

struct Module {};

}  // namespace standin
using namespace standin;

API cuModuleLoadData(void** module, const void* image) {
  LOCK;
  if (!current_context) return INVALID_CONTEXT;
  if (sticky_error) return sticky_error;
  unsigned magic;
  memcpy(&magic, image, 4);
  const bool fatbin = magic == 0xBA55ED50u, cubin = magic == 0x464C457Fu;
  if (!fatbin && !cubin && !strstr((const char*)image, ".version")) return INVALID_IMAGE;
  if (settings.driver_version < 12000) return UNSUPPORTED_PTX_VERSION;
  *module = new Module;
  return OK;
}
API cuModuleLoad(void**, const char*) { return NOT_SUPPORTED; }
API cuModuleUnload(void* module) {
  LOCK;
  drain_all();
  delete (Module*)module;
  return OK;
}
API cuModuleGetFunction(void** function, void*, const char* name) {
  LOCK;
  if (sticky_error) return sticky_error;
  Kernel* kernel = find_kernel(name);
  if (!kernel) return NOT_FOUND;
  *function = kernel;
  return OK;
}
API cuModuleGetGlobal_v2(unsigned long long*, size_t*, void*, const char*) { return NOT_FOUND; }

API cuFuncGetName(const char** name, void* function) {
  *name = ((Kernel*)function)->name;
  return OK;
}
API cuFuncGetAttribute(int* value, int attribute, void* function) {
  auto* kernel = (Kernel*)function;
  switch (attribute) {
    case 0: *value = kernel->max_threads; break;
    case 4: *value = 32; break;  // registers: unknown here
    case 5: case 6: *value = settings.compute_capability; break;
    case 8: *value = kernel->max_dynamic_shared; break;
    default: *value = 0;
  }
  return OK;
}
API cuFuncSetAttribute(void* function, int attribute, int value) {
  LOCK;
  if (attribute != 8) return OK;
  if (value < 0 || value > (int)MAX_SHARED) return INVALID_VALUE;
  ((Kernel*)function)->max_dynamic_shared = value;
  return OK;
}
API cuFuncSetCacheConfig(void*, int) { return OK; }

// Occupancy by threads and dynamic shared memory; registers and static shared memory are unknown here.
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads, size_t shared) {
  auto* kernel = (Kernel*)function;
  if (threads <= 0) return INVALID_VALUE;
  const size_t by_shared = 233472 / (shared + 1024);
  *blocks = threads > kernel->max_threads ? 0 : (int)std::min<size_t>({size_t(2048 / ((threads + 31) & ~31)), by_shared, 32});
  return OK;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, void* function, int threads, size_t shared, unsigned) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared);
}
API cuOccupancyAvailableDynamicSMemPerBlock(size_t* bytes, void* function, int blocks, int) {
  if (blocks <= 0) return INVALID_VALUE;
  *bytes = std::min<size_t>(233472 / blocks - 1024, ((Kernel*)function)->max_dynamic_shared);
  return OK;
}
API cuOccupancyMaxPotentialBlockSize(int* grid, int* block, void* function, size_t (*)(int), size_t, int limit) {
  *block = ((Kernel*)function)->max_threads;
  if (limit > 0) *block = std::min(*block, limit);
  *grid = 132 * (2048 / *block);
  return OK;
}
API cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, void* function, size_t (*shared)(int), size_t bytes, int limit, unsigned) {
  return cuOccupancyMaxPotentialBlockSize(grid, block, function, shared, bytes, limit);
}
