#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

/// A stack with a place to continue at. One CUDA thread runs on one fiber; switching costs about ten
/// nanoseconds (Boost.Context's fcontext saves the callee-saved registers and nothing else).
struct Fiber {
  boost::context::detail::fcontext_t context = nullptr;
  const void* stack_bottom = nullptr;
  std::size_t stack_bytes = 0;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
#endif

  /// Makes the fiber start in `entry` on the stack that ends at `stack_top`.
  void prepare(char* stack_top, std::size_t bytes, void (*entry)(boost::context::detail::transfer_t)) {
    context = boost::context::detail::make_fcontext(stack_top, bytes, entry);
    stack_bottom = stack_top - bytes;
    stack_bytes = bytes;
  }

  /// To be called first thing wherever this fiber continues: notes where `came` from, for the way back.
  __attribute__((always_inline)) void landed(boost::context::detail::transfer_t came) {
    Fiber* left = static_cast<Fiber*>(came.data);
    if (left) left->context = came.fctx;
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

  /// Leaves this fiber, which somebody will continue later, for `to`.
  __attribute__((always_inline)) void switch_to(Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake_stack, to.stack_bottom, to.stack_bytes);
#endif
    landed(boost::context::detail::jump_fcontext(to.context, this));
  }

  /// Leaves this fiber for good.
  [[noreturn]] void leave_for(Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(nullptr, to.stack_bottom, to.stack_bytes);
#endif
    boost::context::detail::jump_fcontext(to.context, nullptr);
    __builtin_unreachable();
  }
};

/// Stacks for the fibers of one worker, each with a guard page below. They are kept from launch to launch:
/// new ones each time cost more than the kernel, and run into the system's limit on mappings.
class FiberStacks {
 public:
  ~FiberStacks();
  /// Makes sure there are `count` stacks.
  void reserve(int count);
  void prepare(Fiber& fiber, int index, void (*entry)(boost::context::detail::transfer_t)) const;
  /// Is `address` in the guard page of a stack?
  bool is_guard(const void* address) const;

 private:
  char* base_ = nullptr;
  int count_ = 0;
};

}  // namespace emulator
