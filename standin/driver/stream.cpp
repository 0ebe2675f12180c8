// Streams and events. An eager stream runs an operation as soon as it is submitted, which is one legal order. A lazy one keeps it
// until something waits for it, the other extreme: code that forgets to synchronise then reads old data.
#include "driver.h"

namespace standin {

static Stream null_stream;
static std::set<Stream*>& streams() {
  static auto& set = *new std::set<Stream*>{&null_stream};
  return set;
}
Stream* stream_of(void* handle) {  // 1 and 2 are the legacy and the per-thread null stream
  return handle == nullptr || handle == (void*)1 || handle == (void*)2 ? &null_stream : (Stream*)handle;
}

static void run_next(Stream* s);
static void run_until(const std::shared_ptr<Moment>& moment) {
  while (!moment->reached && !moment->stream->queue.empty()) run_next(moment->stream);
}
static void run_next(Stream* s) {
  Operation next = std::move(s->queue.front());
  s->queue.pop_front();
  if (next.waits_for) return run_until(next.waits_for);
  if (sticky_error) return;
  if (int error = next.work()) sticky_error = error;
}
int drain(Stream* s) {
  while (!s->queue.empty()) run_next(s);
  return sticky_error;
}
int drain_all() {
  for (auto* s : streams()) drain(s);
  return sticky_error;
}
void forget_queues() {
  for (auto* s : streams()) s->queue.clear();
}

static void enqueue(Stream* s, Operation operation) {
  s->queue.push_back(std::move(operation));
  if (!settings.lazy) drain(s);
}
// The error of an operation shows at a later call, as on a GPU.
int submit_unrecorded(Stream* s, Work work) {
  if (sticky_error) return sticky_error;
  enqueue(s, {std::move(work), nullptr});
  return OK;
}
int submit(Stream* s, Node kind, Work work) {
  if (!s->capture) return submit_unrecorded(s, std::move(work));
  s->capture->graph->nodes.push_back({kind, std::move(work)});
  s->capture->unjoined.insert(s);
  return s->capture->invalid ? CAPTURE_INVALIDATED : OK;
}

struct Event {
  bool timed;
  std::shared_ptr<Moment> moment;
  std::shared_ptr<Capture> capture;  // recorded by a capturing stream
  Stream* captured_from = nullptr;
};

}  // namespace standin
using namespace standin;

API cuStreamCreate(void** stream, unsigned) {
  LOCK;
  if (sticky_error) return sticky_error;
  auto* s = new Stream;
  streams().insert(s);
  *stream = s;
  return OK;
}
API cuStreamCreateWithPriority(void** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
API cuStreamDestroy_v2(void* stream) {
  LOCK;
  Stream* s = stream_of(stream);
  drain(s);
  streams().erase(s);  // kept in memory: events may still name it
  return OK;
}
API cuStreamSynchronize(void* stream) {
  LOCK;
  if (int error = forbid_in_capture(stream_of(stream))) return error;
  return drain(stream_of(stream));
}
API cuStreamQuery(void* stream) {
  LOCK;
  Stream* s = stream_of(stream);
  if (int error = forbid_in_capture(s)) return error;
  if (!s->queue.empty()) run_next(s);  // so that polling makes progress
  return sticky_error ? sticky_error : s->queue.empty() ? OK : NOT_READY;
}
API cuStreamAttachMemAsync(void*, unsigned long long, size_t, unsigned) { return NOT_SUPPORTED; }
API cuLaunchHostFunc(void* stream, void (*function)(void*), void* argument) {
  LOCK;
  return submit(stream_of(stream), Node::HOST, [=] { return function(argument), 0; });
}

API cuEventCreate(void** event, unsigned flags) {
  if (sticky_error) return sticky_error;
  *event = new Event{!(flags & 2), nullptr, nullptr};
  return OK;
}
API cuEventDestroy_v2(void* event) {
  LOCK;
  delete (Event*)event;
  return OK;
}
API cuEventRecord(void* event, void* stream) {
  LOCK;
  auto* e = (Event*)event;
  Stream* s = stream_of(stream);
  if (s->capture) {
    e->capture = s->capture;
    e->captured_from = s;
    e->moment.reset();
    return OK;
  }
  e->capture.reset();
  auto moment = e->moment = std::make_shared<Moment>(Moment{false, s, {}});
  return submit_unrecorded(s, [moment] {
    moment->reached = true;
    moment->time = std::chrono::steady_clock::now();
    return 0;
  });
}
API cuStreamWaitEvent(void* stream, void* event, unsigned) {
  LOCK;
  auto* e = (Event*)event;
  Stream* s = stream_of(stream);
  if (e->capture) {  // the stream joins the capture
    if (!s->capture) {
      if (s == &null_stream) return CAPTURE_IMPLICIT;
      s->capture = e->capture;
      s->capture->members.insert(s);
    } else if (s->capture != e->capture) {
      s->capture->invalid = true;
      return CAPTURE_ISOLATION;
    }
    if (e->captured_from != s) s->capture->unjoined.erase(e->captured_from);
    return OK;
  }
  if (s->capture && e->moment) {
    s->capture->invalid = true;
    return CAPTURE_ISOLATION;
  }
  if (!e->moment || e->moment->reached || s->capture) return OK;
  enqueue(s, {nullptr, e->moment});
  return sticky_error;
}
API cuEventQuery(void* event) {
  LOCK;
  auto* e = (Event*)event;
  if (e->capture) return CAPTURE_UNSUPPORTED;
  if (!e->moment || e->moment->reached) return sticky_error;
  if (!e->moment->stream->queue.empty()) run_next(e->moment->stream);
  return sticky_error ? sticky_error : e->moment->reached ? OK : NOT_READY;
}
API cuEventSynchronize(void* event) {
  LOCK;
  auto* e = (Event*)event;
  if (e->capture) return CAPTURE_UNSUPPORTED;
  if (e->moment) run_until(e->moment);
  return sticky_error;
}
API cuEventElapsedTime_v2(float* milliseconds, void* from, void* to) {
  LOCK;
  auto *a = (Event*)from, *b = (Event*)to;
  if (!a->timed || !b->timed || !a->moment || !b->moment) return INVALID_HANDLE;
  if (!a->moment->reached || !b->moment->reached) return sticky_error ? sticky_error : NOT_READY;
  *milliseconds = std::chrono::duration<float, std::milli>(b->moment->time - a->moment->time).count();
  return OK;
}
API cuEventElapsedTime(float* milliseconds, void* from, void* to) { return cuEventElapsedTime_v2(milliseconds, from, to); }
