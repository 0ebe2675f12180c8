// Internal to the driver: the objects that the CUDA driver API's handles point to, and one lock around all of them.
//
//   errors.cpp   names of error codes, the context's sticky error
//   context.cpp  cuInit, devices, contexts; settings from the environment and from tests
//   memory.cpp   device and pinned memory, copies
//   stream.cpp   queues, events
//   graph.cpp    capture, replay, update
//   module.cpp   modules, functions and their attributes
//   launch.cpp   cuLaunchKernel
#pragma once
#include "runtime.h"
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#define API extern "C" __attribute__((visibility("default"))) int

namespace standin {

enum Error {
  OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201, UNSUPPORTED_PTX_VERSION = 222, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, NOT_SUPPORTED = 801,
  CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, CAPTURE_UNMATCHED = 903, CAPTURE_UNJOINED = 904, CAPTURE_ISOLATION = 905,
  CAPTURE_IMPLICIT = 906, GRAPH_UPDATE_FAILURE = 910,
};

extern std::recursive_mutex driver_mutex;
#define LOCK std::lock_guard<std::recursive_mutex> lock_(standin::driver_mutex)

// After a kernel's fault every call returns its error, as on a GPU; standin_reset clears it.
extern int sticky_error;

// ---- contexts
struct Context {
  int device, references = 0;
};
extern bool initialised;
extern thread_local Context* current_context __attribute__((tls_model("initial-exec")));

// ---- streams: queues of operations. Eager: an operation runs when it is submitted. Lazy: when something waits for it.
struct Stream;
struct Capture;
enum class Node { KERNEL = 0, MEMCPY = 1, MEMSET = 2, HOST = 3 };  // CUgraphNodeType
using Work = std::function<int()>;
struct Moment {  // one recording of an event
  bool reached = false;
  Stream* stream;
  std::chrono::steady_clock::time_point time;
};
struct Operation {
  Work work;
  std::shared_ptr<Moment> waits_for;  // instead of work
};
struct Stream {
  std::deque<Operation> queue;
  std::shared_ptr<Capture> capture;
};
Stream* stream_of(void* handle);
int submit(Stream*, Node, Work);       // to the queue, or to the graph that the stream is capturing
int submit_unrecorded(Stream*, Work);  // for operations that a capture does not record
int drain(Stream*);
int drain_all();
void forget_queues();

// ---- graphs: the operations in the order of their capture, which is a valid order of any graph
struct GraphNode {
  Node kind;
  Work work;
};
struct Graph {
  std::vector<GraphNode> nodes;
};
struct Capture {
  std::unique_ptr<Graph> graph;
  Stream* origin;
  std::set<Stream*> members, unjoined;
  int mode;  // CUstreamCaptureMode
  std::thread::id thread;
  bool invalid = false;
};
int forbid_in_capture(Stream*);      // calls that are not allowed on a capturing stream
int forbid_during_captures();        // calls that may disturb a capture elsewhere, by its mode
void forget_captures();

// ---- memory
int allocate(unsigned long long* p, size_t bytes);
int release(unsigned long long p);
bool gap_spoilt(const Allocation&);  // something wrote between the allocation and its guard pages

// ---- kernels
Kernel* find_kernel(const char* name);
int load_kernels();

}  // namespace standin
