// Initialisation, devices, contexts; and the stand-in's own functions, with which tests set how it behaves.
#include "driver.h"
#include <cstdlib>
#include <cstring>
#include <map>

namespace standin {

std::recursive_mutex driver_mutex;
int sticky_error;
bool initialised;
thread_local Context* current_context;
static Context contexts[8];

// Changes a setting by its name; false if there is none of that name.
static bool set(const std::string& name, unsigned long long value) {
  auto& s = settings;
  if (name == "order") s.order = Order(value);
  else if (name == "seed") s.seed = value;
  else if (name == "lazy") s.lazy = value;
  else if (name == "early_copies") s.early_copies = value;
  else if (name == "threads") s.threads = value ? value : 1;
  else if (name == "quiet") s.quiet = value;
  else if (name == "memory") s.memory = value << 20;
  else if (name == "devices") s.devices = value > 8 ? 8 : value;
  else if (name == "driver_version") s.driver_version = value;
  else if (name == "compute_capability") s.compute_capability = value;
  else if (name == "stack") s.stack = value << 10;
  else if (name == "dry") s.dry = value;
  else return false;
  return true;
}

// Runs when the library is loaded, so that settings that the program makes later take precedence.
__attribute__((constructor)) static void read_environment() {
  static const struct {
    const char *variable, *setting;
  } numbers[] = {{"STANDIN_LAZY", "lazy"}, {"STANDIN_THREADS", "threads"}, {"STANDIN_QUIET", "quiet"}, {"STANDIN_MEMORY", "memory"},
                 {"STANDIN_DEVICES", "devices"}, {"STANDIN_DRIVER_VERSION", "driver_version"}, {"STANDIN_STACK", "stack"},
                 {"STANDIN_COMPUTE_CAPABILITY", "compute_capability"}, {"STANDIN_DRY", "dry"}};
  for (auto& n : numbers)
    if (const char* text = getenv(n.variable); text && *text) set(n.setting, strtoull(text, nullptr, 10));
  if (const char* text = getenv("STANDIN_ORDER"); text && *text) {
    const std::string order = text;
    settings.order = order == "ascending" ? Order::ASCENDING : order == "descending" ? Order::DESCENDING : Order::SHUFFLED;
    settings.seed = strtoull(text, nullptr, 10);
  }
  if (const char* text = getenv("STANDIN_CP_ASYNC"); text && *text) settings.early_copies = !strcmp(text, "early");
  if (const char* text = getenv("STANDIN_TRACE"); text && *text) settings.trace = text;
}

}  // namespace standin
using namespace standin;

// ---- the stand-in's own functions

API standin_set(const char* name, unsigned long long value) {
  LOCK;
  drain_all();
  return set(name, value) ? OK : INVALID_VALUE;
}
// Copies the last report, cut to `size`, and returns its whole length.
API standin_report(char* text, size_t size) {
  const std::string report = last_report();
  if (size) snprintf(text, size, "%s", report.c_str());
  return (int)report.size();
}
// Clears the sticky error, the report, active captures and queued operations.
API standin_reset() {
  LOCK;
  forget_captures();
  forget_queues();
  sticky_error = OK;
  clear_report();
  return OK;
}
API standin_statistics(unsigned long long* numbers) {
  LOCK;
  numbers[0] = statistics.launches;
  numbers[1] = statistics.blocks;
  numbers[2] = statistics.threads;
  numbers[3] = statistics.switches;
  return OK;
}

// ---- initialisation and devices

API cuInit(unsigned) {
  LOCK;
  if (settings.devices == 0) return NO_DEVICE;
  if (initialised) return OK;
  if (int error = load_kernels()) return error;
  initialised = true;
  return OK;
}
API cuDriverGetVersion(int* version) {
  *version = settings.driver_version;
  return OK;
}
API cuDeviceGetCount(int* count) {
  *count = settings.devices;
  return initialised ? OK : NOT_INITIALIZED;
}
API cuDeviceGet(int* device, int ordinal) {
  if (!initialised) return NOT_INITIALIZED;
  if (ordinal < 0 || ordinal >= settings.devices) return INVALID_DEVICE;
  *device = ordinal;
  return OK;
}
API cuDeviceGetName(char* name, int size, int) {
  snprintf(name, size, "CPU stand-in for a CUDA device%s", CHECKED ? " (checked)" : "");
  return OK;
}
API cuDeviceGetUuid(char* uuid, int device) {
  memset(uuid, device, 16);
  return OK;
}
API cuDeviceGetUuid_v2(char* uuid, int device) { return cuDeviceGetUuid(uuid, device); }
API cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = settings.memory;
  return OK;
}
API cuDeviceGetAttribute(int* value, int attribute, int) {
  // Those of an H100, except for the compute capability, which can be set.
  static const auto& table = *new std::map<int, int>{
      {1, 1024},       // threads per block
      {2, 1024},       // block dimensions
      {3, 1024},
      {4, 64},
      {5, 2147483647}, // grid dimensions
      {6, 65535},
      {7, 65535},
      {8, 49152},      // shared memory per block
      {9, 65536},      // constant memory
      {10, 32},        // warp size
      {12, 65536},     // registers per block
      {13, 1980000},   // clock, kHz
      {14, 512},       // texture alignment
      {15, 1},         // copies beside kernels
      {16, 132},       // multiprocessors
      {31, 1},         // concurrent kernels
      {36, 2619000},   // memory clock, kHz
      {37, 5120},      // memory bus, bits
      {38, 52428800},  // level-2 cache
      {39, 2048},      // threads per multiprocessor
      {41, 1},         // unified addressing
      {81, 233472},    // shared memory per multiprocessor
      {82, 65536},     // registers per multiprocessor
      {97, (int)MAX_SHARED},  // shared memory per block, opt-in
      {106, 32},       // blocks per multiprocessor
      {115, 1},        // memory pools
  };
  if (attribute == 75) *value = settings.compute_capability / 10;
  else if (attribute == 76) *value = settings.compute_capability % 10;
  else {
    auto it = table.find(attribute);
    *value = it == table.end() ? 0 : it->second;
  }
  return OK;
}

// ---- contexts

API cuDevicePrimaryCtxRetain(void** context, int device) {
  LOCK;
  if (!initialised) return NOT_INITIALIZED;
  if (device < 0 || device >= settings.devices) return INVALID_DEVICE;
  contexts[device].device = device;
  contexts[device].references++;
  *context = &contexts[device];
  return OK;
}
API cuDevicePrimaryCtxRelease_v2(int device) {
  LOCK;
  if (device < 0 || device >= 8 || !contexts[device].references) return INVALID_CONTEXT;
  drain_all();
  if (--contexts[device].references == 0) sticky_error = OK;  // the error belongs to the context, which is destroyed
  return OK;
}
API cuCtxGetCurrent(void** context) {
  *context = current_context;
  return initialised ? OK : NOT_INITIALIZED;
}
API cuCtxSetCurrent(void* context) {
  current_context = (Context*)context;
  return OK;
}
API cuCtxPushCurrent_v2(void* context) { return cuCtxSetCurrent(context); }
API cuCtxPopCurrent_v2(void** context) {
  if (context) *context = current_context;
  current_context = nullptr;
  return OK;
}
API cuCtxGetDevice(int* device) {
  if (!current_context) return INVALID_CONTEXT;
  *device = current_context->device;
  return OK;
}
API cuCtxSynchronize() {
  LOCK;
  if (!current_context) return INVALID_CONTEXT;
  if (int error = forbid_during_captures()) return error;
  return drain_all();
}
API cuProfilerStart() { return current_context ? OK : INVALID_CONTEXT; }
API cuProfilerStop() { return current_context ? OK : INVALID_CONTEXT; }
API cuCtxSetFlags(unsigned) { return OK; }
API cuCtxGetLimit(size_t* value, int) {
  *value = 1024;
  return OK;
}
API cuCtxSetLimit(int, size_t) { return OK; }
API cuCtxGetCacheConfig(int* config) {
  *config = 0;
  return OK;
}
API cuCtxSetCacheConfig(int) { return OK; }
API cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return OK;
}
