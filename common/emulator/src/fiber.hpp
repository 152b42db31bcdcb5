#pragma once

#include <cstddef>

#include "fiber_switch.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

/// A stack with a place to continue at. One CUDA thread runs on one fiber.
struct Fiber {
  SavedContext context;
  const void* stack_bottom = nullptr;
  std::size_t stack_bytes = 0;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
#endif

  /// Leaves this fiber, to be continued later, for `to`.
  __attribute__((always_inline)) void switch_to(Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake_stack, to.stack_bottom, to.stack_bytes);
    switch_context(context, to.context);
    arrived();
#else
    switch_context(context, to.context);
#endif
  }

  /// Leaves this fiber for good.
  [[noreturn]] void leave_for(Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_handle_no_return();  // the frames that this leaves behind are no more
    __sanitizer_start_switch_fiber(nullptr, to.stack_bottom, to.stack_bytes);
#endif
    enter_context(to.context);
  }

  /// To be called first thing in a new fiber, by it. `left` is the OS thread's own if it comes from there:
  /// only AddressSanitizer knows where its stack lies.
  void arrived([[maybe_unused]] Fiber* left = nullptr) {
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom = nullptr;
    std::size_t bytes = 0;
    __sanitizer_finish_switch_fiber(fake_stack, &bottom, &bytes);
    if (left && !left->stack_bottom) {
      left->stack_bottom = bottom;
      left->stack_bytes = bytes;
    }
#endif
  }
};

/// Stacks for the fibers of one worker, each with a guard page below. They are kept from launch to launch:
/// new ones each time cost more than the kernel, and run into the system's limit on mappings.
class FiberStacks {
 public:
  ~FiberStacks();
  /// Makes sure there are `count` stacks.
  void reserve(int count);
  /// Makes `fiber` start in kEntry on stack `index`.
  template <void (*kEntry)()>
  void prepare(Fiber& fiber, int index) const {
    const Stack stack = stack_at(index);
    fiber.context = new_context<kEntry>(stack.top, stack.bytes);
    fiber.stack_bottom = stack.top - stack.bytes;
    fiber.stack_bytes = stack.bytes;
#if defined(__SANITIZE_ADDRESS__)
    fiber.fake_stack = nullptr;
#endif
  }
  /// Forgets frames of fibers that will not go on, after a fault.
  void abandon() const;
  /// Is `address` in the guard page of a stack?
  bool is_guard(const void* address) const;

 private:
  struct Stack {
    char* top;
    std::size_t bytes;
  };
  Stack stack_at(int index) const;

  char* base_ = nullptr;
  int capacity_ = 0;
  int count_ = 0;
};

}  // namespace emulator
