// Every access to memory of a traced kernel. The compiler calls these functions for -fsanitize=thread;
// libtsan, whose they are, is not linked. The bounds of arrays are checked by -fsanitize=bounds, whose
// handler is here too.

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tracer.hpp"
#include "worker.hpp"

namespace {

using emulator::Access;

inline void trace(const void* address, std::size_t bytes, Access access, void* return_address) {
  const emulator::Worker* worker = emulator::current_worker;
  emulator::Tracer* tracer = worker ? worker->tracer() : nullptr;
  if (tracer) tracer->access(reinterpret_cast<std::uintptr_t>(return_address), address, int(bytes), access);
}

// A run of bytes: what a copy of a large structure does, at most 16 bytes an instruction.
void trace_range(const void* address, std::size_t bytes, Access access, void* return_address) {
  constexpr std::size_t kWidest = 16;
  const char* at = static_cast<const char*>(address);
  while (bytes > 0) {
    // Never across the alignment of its width.
    std::size_t step = kWidest;
    while (step > bytes || reinterpret_cast<std::uintptr_t>(at) % step != 0) step /= 2;
    trace(at, step, access, return_address);
    at += step;
    bytes -= step;
  }
}

}  // namespace

extern "C" {

#define EMULATOR_HOOKS(bytes)                                                \
  void __tsan_read##bytes(void* address) {                                   \
    trace(address, bytes, Access::load, __builtin_return_address(0));        \
  }                                                                          \
  void __tsan_write##bytes(void* address) {                                  \
    trace(address, bytes, Access::store, __builtin_return_address(0));       \
  }                                                                          \
  void __tsan_unaligned_read##bytes(void* address) {                         \
    trace_range(address, bytes, Access::load, __builtin_return_address(0));  \
  }                                                                          \
  void __tsan_unaligned_write##bytes(void* address) {                        \
    trace_range(address, bytes, Access::store, __builtin_return_address(0)); \
  }                                                                          \
  void __tsan_volatile_read##bytes(void* address) {                          \
    trace(address, bytes, Access::load, __builtin_return_address(0));        \
  }                                                                          \
  void __tsan_volatile_write##bytes(void* address) {                         \
    trace(address, bytes, Access::store, __builtin_return_address(0));       \
  }
EMULATOR_HOOKS(1)
EMULATOR_HOOKS(2)
EMULATOR_HOOKS(4)
EMULATOR_HOOKS(8)
EMULATOR_HOOKS(16)

void __tsan_read_range(void* address, std::size_t bytes) {
  trace_range(address, bytes, Access::load, __builtin_return_address(0));
}
void __tsan_write_range(void* address, std::size_t bytes) {
  trace_range(address, bytes, Access::store, __builtin_return_address(0));
}
void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  trace_range(from, bytes, Access::load, __builtin_return_address(0));
  trace_range(to, bytes, Access::store, __builtin_return_address(0));
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, std::size_t bytes) {
  trace_range(from, bytes, Access::load, __builtin_return_address(0));
  trace_range(to, bytes, Access::store, __builtin_return_address(0));
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, std::size_t bytes) {
  trace_range(to, bytes, Access::store, __builtin_return_address(0));
  return std::memset(to, value, bytes);
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void*) {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_atomic_thread_fence(int) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int) {
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

// An index outside its array, which in shared memory is a neighbour's. The layout is the compilers' own.
struct BoundsLocation {
  const char* file;
  std::uint32_t line;
  std::uint32_t column;
};
struct BoundsType {
  std::uint16_t kind;
  std::uint16_t info;
  char name[1];
};
struct BoundsData {
  BoundsLocation location;
  const BoundsType* array_type;
  const BoundsType* index_type;
};
void __ubsan_handle_out_of_bounds(BoundsData* data, std::uintptr_t index) {
  emulator::Worker* worker = emulator::current_worker;
  if (!worker || !worker->tracer() || !emulator::options().check) return;
  const int thread = worker->current().linear;
  emulator::report(
      {.kind = emulator::ReportKind::out_of_bounds,
       .site = {data->location.file, int(data->location.line)},
       .message = fmt::format("{} thread {} uses index {} of an array of type {}", worker->name(), thread,
                              std::ptrdiff_t(index), data->array_type->name),
       .threads = {thread}});
}

}  // extern "C"
