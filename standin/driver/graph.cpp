// Graphs: a capture makes a list of operations, a launch replays it.
#include "driver.h"

namespace standin {

static std::set<std::shared_ptr<Capture>>& captures() {
  static auto& set = *new std::set<std::shared_ptr<Capture>>;
  return set;
}
int forbid_in_capture(Stream* s) {
  if (!s->capture) return OK;
  s->capture->invalid = true;
  return CAPTURE_UNSUPPORTED;
}
int forbid_during_captures() {
  int error = OK;
  for (auto& c : captures()) {
    const bool disturbed = c->mode == 0 || (c->mode == 1 && c->thread == std::this_thread::get_id());
    if (!disturbed) continue;  // 0 is global, 1 this thread's, 2 relaxed
    c->invalid = true;
    error = CAPTURE_UNSUPPORTED;
  }
  return error;
}
static void end(const std::shared_ptr<Capture>& capture) {
  for (auto* member : capture->members) member->capture.reset();
  captures().erase(capture);
}
void forget_captures() {
  while (!captures().empty()) end(std::shared_ptr<Capture>(*captures().begin()));
}

}  // namespace standin
using namespace standin;

API cuStreamBeginCapture_v2(void* stream, int mode) {
  LOCK;
  Stream* s = stream_of(stream);
  if (sticky_error) return sticky_error;
  if (s == stream_of(nullptr)) return CAPTURE_UNSUPPORTED;
  if (s->capture) return INVALID_VALUE;
  auto capture = std::make_shared<Capture>();
  capture->graph = std::make_unique<Graph>();
  capture->origin = s;
  capture->members = {s};
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  s->capture = capture;
  captures().insert(capture);
  return OK;
}
API cuStreamEndCapture(void* stream, void** graph) {
  LOCK;
  *graph = nullptr;
  auto capture = stream_of(stream)->capture;
  if (!capture || capture->origin != stream_of(stream)) return CAPTURE_UNMATCHED;
  end(capture);
  capture->unjoined.erase(capture->origin);
  if (capture->invalid) return CAPTURE_INVALIDATED;
  if (!capture->unjoined.empty()) return CAPTURE_UNJOINED;
  *graph = capture->graph.release();
  return OK;
}
API cuStreamIsCapturing(void* stream, int* status) {
  LOCK;
  auto& capture = stream_of(stream)->capture;
  *status = !capture ? 0 : capture->invalid ? 2 : 1;
  return OK;
}

API cuGraphGetNodes(void* graph, void** nodes, size_t* count) {
  LOCK;
  auto& all = ((Graph*)graph)->nodes;
  if (nodes)
    for (size_t i = 0; i < *count; i++) nodes[i] = i < all.size() ? &all[i] : nullptr;
  *count = nodes && *count < all.size() ? *count : all.size();
  return OK;
}
API cuGraphNodeGetType(void* node, int* type) {
  *type = (int)((GraphNode*)node)->kind;
  return OK;
}
API cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
  LOCK;
  *executable = new Graph(*(Graph*)graph);
  return OK;
}
// Updates the parameters of the same nodes; a different list of nodes is refused.
struct UpdateResult {
  int result;
  void *node, *from;
};
API cuGraphExecUpdate_v2(void* executable, void* graph, UpdateResult* result) {
  LOCK;
  auto &now = ((Graph*)executable)->nodes, &wanted = ((Graph*)graph)->nodes;
  drain_all();
  bool same = now.size() == wanted.size();
  for (size_t i = 0; same && i < now.size(); i++) same = now[i].kind == wanted[i].kind;
  if (result) *result = {same ? 0 : 2, nullptr, nullptr};  // 2: the topology has changed
  if (!same) return GRAPH_UPDATE_FAILURE;
  now = wanted;
  return sticky_error;
}
API cuGraphExecDestroy(void* executable) {
  LOCK;
  drain_all();
  delete (Graph*)executable;
  return OK;
}
API cuGraphDestroy(void* graph) {
  LOCK;
  delete (Graph*)graph;
  return OK;
}
API cuGraphUpload(void*, void*) { return sticky_error; }
API cuGraphLaunch(void* executable, void* stream) {
  LOCK;
  if (!current_context) return INVALID_CONTEXT;
  auto* graph = (Graph*)executable;
  if (int error = forbid_in_capture(stream_of(stream))) return error;  // graphs within graphs are not implemented
  return submit_unrecorded(stream_of(stream), [graph] {
    for (auto& node : graph->nodes)
      if (int error = node.work()) return error;
    return 0;
  });
}
