// Atomics. Several OS threads run blocks, so those of global memory are atomics of the CPU.

#include <cstdint>
#include <cstring>

#include "emulator/atomic_functions.hpp"
#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {
namespace {

template <typename Word>
bool exchange_if(void* address, void* expected, const void* desired) {
  Word wanted;
  std::memcpy(&wanted, desired, sizeof(Word));
  return __atomic_compare_exchange_n(static_cast<Word*>(address), static_cast<Word*>(expected), wanted, false,
                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

template <typename Word>
void read(const void* address, void* value) {
  const Word word = __atomic_load_n(static_cast<const Word*>(address), __ATOMIC_RELAXED);
  std::memcpy(value, &word, sizeof(Word));
}

}  // namespace

void note_atomic(const void* address, int bytes) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  const Worker* worker = current_worker;
  Tracer* tracer = worker ? worker->tracer() : nullptr;
  if (tracer) tracer->access(pc, address, bytes, Access::atomic);
}

void atomic_read(const void* address, void* value, int bytes) {
  if (bytes == 2) read<std::uint16_t>(address, value);
  if (bytes == 4) read<std::uint32_t>(address, value);
  if (bytes == 8) read<std::uint64_t>(address, value);
}

bool atomic_exchange_if(void* address, void* expected, const void* desired, int bytes) {
  if (bytes == 2) return exchange_if<std::uint16_t>(address, expected, desired);
  if (bytes == 4) return exchange_if<std::uint32_t>(address, expected, desired);
  return exchange_if<std::uint64_t>(address, expected, desired);
}

}  // namespace emulator
