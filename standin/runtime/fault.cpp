// Faults. A failed check, or a signal of the host, ends the block: control returns to the worker, which reports where it happened.
#include "runtime.h"
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <ucontext.h>

namespace standin {

static std::mutex report_mutex;
static std::string& report_text() {
  static auto& text = *new std::string;
  return text;
}
void report(const char* format, ...) {
  char text[2048];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  std::lock_guard<std::mutex> guard(report_mutex);
  report_text() = text;
  if (!settings.quiet) fprintf(stderr, "standin: %s\n", text);
}
std::string last_report() {
  std::lock_guard<std::mutex> guard(report_mutex);
  return report_text();
}
void clear_report() {
  std::lock_guard<std::mutex> guard(report_mutex);
  report_text().clear();
}

[[noreturn]] static void leave(const void* instruction, int error, const char* format, va_list arguments) {
  Worker& w = *worker;
  char text[1024];
  vsnprintf(text, sizeof text, format, arguments);
  w.what = text;
  if (w.site) w.what += std::string(" (") + w.site + ")";
  w.site = nullptr;
  w.error = error;
  w.where = instruction;
  void* abandoned;
  standin_switch(&abandoned, w.scheduler);
  __builtin_unreachable();
}
void fault(int error, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  leave(nullptr, error, format, arguments);
}
void fault_at(const void* instruction, int error, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  leave(instruction, error, format, arguments);
}

// " (file.cu:12)" of an instruction, where addr2line is installed.
std::string source_line(const void* instruction) {
  Dl_info library;
  if (!instruction || !dladdr(instruction, &library) || !library.dli_fname) return "";
  char command[1024], line[512] = "";
  snprintf(command, sizeof command, "addr2line -e '%s' 0x%zx 2>/dev/null", library.dli_fname, (const char*)instruction - (const char*)library.dli_fbase - 1);
  if (FILE* f = popen(command, "r")) {
    if (!fgets(line, sizeof line, f)) line[0] = 0;
    pclose(f);
  }
  line[strcspn(line, " \n")] = 0;
  const char* name = strrchr(line, '/');
  return !line[0] || line[0] == '?' ? "" : std::string(" (") + (name ? name + 1 : line) + ")";
}

// ---- signals: an access to an inaccessible page ends the block, as any other fault does

static struct sigaction previous_segv, previous_bus, previous_fpe;
static thread_local const void* fault_address;
static thread_local const void* fault_instruction;
static thread_local int fault_signal, fault_code;

// Runs in place of the instruction, on the emergency stack.
static void after_signal() {
  Worker& w = *worker;
  const char* address = (const char*)fault_address;
  if (fault_signal == SIGFPE) fault_at(fault_instruction, LAUNCH_FAILED, "integer division by zero");
  // The host reports a misaligned vector access as a general protection fault without an address.
  if (fault_code == SI_KERNEL && !address) fault_at(fault_instruction, MISALIGNED_ADDRESS, "misaligned vector access");
  for (auto& f : w.fibers)
    if (f.stack && address < f.stack && address > f.stack - settings.stack - 2 * PAGE)
      fault_at(fault_instruction, LAUNCH_FAILED, "stack overflow of a thread (%zu bytes)", settings.stack);
  if (address >= w.dynamic && address < w.dynamic_mapping + DYNAMIC_MAPPING + PAGE)
    fault_at(fault_instruction, ILLEGAL_ADDRESS, "access at offset %zd of %u bytes of dynamic shared memory", address - w.dynamic, w.launch->shared);
  if (Allocation* a = find_allocation(address))
    fault_at(fault_instruction, ILLEGAL_ADDRESS, "access at offset %zd of an allocation of %zu bytes", address - a->base, a->size);
  fault_at(fault_instruction, ILLEGAL_ADDRESS, "access at %p, which is not device memory", fault_address);
}

static void on_signal(int signal, siginfo_t* info, void* context) {
  Worker* w = worker;
  if (!w || !w->launch || !w->current) {  // not caused by a kernel: restore the previous handler
    sigaction(signal, signal == SIGSEGV ? &previous_segv : signal == SIGBUS ? &previous_bus : &previous_fpe, nullptr);
    return;
  }
  auto* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  fault_signal = signal;
  fault_code = info->si_code;
  fault_address = info->si_addr;
  fault_instruction = (const char*)registers[REG_RIP] + 1;  // source_line expects a return address
  registers[REG_RIP] = (greg_t)after_signal;
  registers[REG_RSP] = (greg_t)(w->emergency_stack + 65536 - 8);
}

void catch_signals() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
    sigaction(SIGFPE, &action, &previous_fpe);
  });
}

}  // namespace standin
