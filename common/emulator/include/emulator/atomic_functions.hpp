#pragma once

#include <cstring>
#include <type_traits>

#include "emulator/qualifiers.hpp"

// Atomics, on global and on shared memory.

namespace emulator {

/// Tells the checkers and counters of one atomic access by the current thread.
void note_atomic(const void* address, int bytes);
/// The `bytes` (2, 4 or 8) at `address`, read at once.
void atomic_read(const void* address, void* value, int bytes);
/// Puts `desired` where `expected` is; else puts what is there into `expected` and returns false.
bool atomic_exchange_if(void* address, void* expected, const void* desired, int bytes);

template <typename T, typename Function>
__forceinline__ T atomic_update(T* address, Function new_value) {
  note_atomic(address, sizeof(T));
  T seen;
  atomic_read(address, &seen, sizeof(T));
  for (;;) {
    const T wanted = new_value(seen);
    const T before = seen;
    if (atomic_exchange_if(address, &seen, &wanted, sizeof(T))) return before;
  }
}

}  // namespace emulator

template <typename T>
__forceinline__ T atomicAdd(T* address, std::type_identity_t<T> value) {
  return ::emulator::atomic_update(address, [value](T old) { return T(old + value); });
}
template <typename T>
__forceinline__ T atomicExch(T* address, std::type_identity_t<T> value) {
  return ::emulator::atomic_update(address, [value](T) { return value; });
}
template <typename T>
__forceinline__ T atomicMin(T* address, std::type_identity_t<T> value) {
  return ::emulator::atomic_update(address, [value](T old) { return value < old ? value : old; });
}
template <typename T>
__forceinline__ T atomicMax(T* address, std::type_identity_t<T> value) {
  return ::emulator::atomic_update(address, [value](T old) { return old < value ? value : old; });
}
template <typename T>
__forceinline__ T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  return ::emulator::atomic_update(address, [compare, value](T old) { return old == compare ? value : old; });
}
__forceinline__ unsigned atomicInc(unsigned* address, unsigned limit) {
  return ::emulator::atomic_update(address, [limit](unsigned old) { return old >= limit ? 0u : old + 1; });
}
