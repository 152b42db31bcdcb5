#include "fault_handler.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "cluster.hpp"
#include "device_memory.hpp"

namespace emulator {
namespace {

// What the handler leaves for the code that it makes the thread continue in.
struct Fault {
  std::uintptr_t pc;
  const void* address;
  int signal;
};
__thread Fault fault;
struct sigaction previous_segv, previous_bus;

// Runs on the stack of the thread that faulted, as though that thread had called it.
[[noreturn]] void report_fault() {
  Worker& worker = *current_worker;
  const int thread = worker.current().linear;
  const DeviceMemory& memory = DeviceMemory::instance();
  ReportKind kind = ReportKind::fault;
  std::string what = fmt::format("accesses address {}", fault.address);
  if (memory.contains(fault.address)) {
    const Allocation* allocation = memory.find(fault.address);
    kind = allocation && allocation->freed ? ReportKind::use_after_free : ReportKind::out_of_bounds;
    what = "accesses global memory, " + memory.describe(fault.address);
  } else if (worker.cluster.stacks().is_guard(fault.address)) {
    kind = ReportKind::stack_overflow;
    what = "used all of its stack (local arrays or recursion)";
  } else if (fault.address == nullptr) {
    // The processor gives no address for a misaligned vector access.
    kind = ReportKind::misaligned;
    what = "dereferences a null, wild or misaligned pointer";
  }
  // The faulting instruction, not a return address: one byte on, so that looking one byte back is right.
  report({.kind = kind,
          .site = {},
          .pc = fault.pc + 1,
          .message = fmt::format("{} thread {} {}", worker.name(), thread, what),
          .threads = {thread}});
  worker.fail();
}

void on_fault(int signal, siginfo_t* info, void* raw_context) {
  Worker* worker = current_worker;
  auto* context = static_cast<ucontext_t*>(raw_context);
  const bool in_kernel = worker && worker->scheduler.has_current();
  if (!in_kernel) {
    // Not a kernel's fault: the instruction faults again, for the handler that was there before ours.
    sigaction(signal, signal == SIGSEGV ? &previous_segv : &previous_bus, nullptr);
    return;
  }
#if defined(__x86_64__)
  fault = {std::uintptr_t(context->uc_mcontext.gregs[REG_RIP]), info->si_addr, signal};
  // On the same stack, unless that is what ran over: then from its other end.
  std::uintptr_t stack = std::uintptr_t(context->uc_mcontext.gregs[REG_RSP]) - 1024;
  const auto bottom = reinterpret_cast<std::uintptr_t>(worker->current().fiber.stack_bottom);
  if (worker->cluster.stacks().is_guard(info->si_addr) || stack < bottom + 16384) {
    stack = bottom + worker->current().fiber.stack_bytes - 256;
  }
  context->uc_mcontext.gregs[REG_RSP] = greg_t((stack & ~std::uintptr_t(15)) - 8);  // as after a call
  context->uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&report_fault);
#elif defined(__aarch64__)
  fault = {std::uintptr_t(context->uc_mcontext.pc), info->si_addr, signal};
  std::uintptr_t stack = std::uintptr_t(context->uc_mcontext.sp) - 1024;
  const auto bottom = reinterpret_cast<std::uintptr_t>(worker->current().fiber.stack_bottom);
  if (worker->cluster.stacks().is_guard(info->si_addr) || stack < bottom + 16384) {
    stack = bottom + worker->current().fiber.stack_bytes - 256;
  }
  context->uc_mcontext.sp = stack & ~std::uintptr_t(15);
  context->uc_mcontext.pc = reinterpret_cast<std::uintptr_t>(&report_fault);
#else
  static const char message[] = "a kernel accessed memory that it must not\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, message, sizeof(message) - 1);
  _exit(1);
#endif
}

}  // namespace

FaultHandler::FaultHandler() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, &previous_segv);
  sigaction(SIGBUS, &action, &previous_bus);
}

FaultHandler::~FaultHandler() {
  sigaction(SIGSEGV, &previous_segv, nullptr);
  sigaction(SIGBUS, &previous_bus, nullptr);
}

void make_signal_stack() {
  constexpr std::size_t kBytes = 64 * 1024;
  static thread_local std::unique_ptr<char[]> memory;
  memory = std::make_unique<char[]>(kBytes);
  stack_t stack = {};
  stack.ss_sp = memory.get();
  stack.ss_size = kBytes;
  sigaltstack(&stack, nullptr);
}

}  // namespace emulator
