#pragma once

#include <cstddef>
#include <cstdint>

// The switch from one fiber to another: Boost.Context's fcontext, or on x86-64 our own.
//
// Ours is inlined where a thread waits. It declares every register clobbered, so that the compiler saves
// those it needs and no others. It makes no call, so that the processor's prediction of returns stays right:
// the fibers of a warp mostly wait in one place, and the last call that the processor remembers is as good as
// theirs. A misprediction or two costs more than all the instructions.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)

namespace emulator {

/// Where a fiber that does not run continues: the top of its stack, where the address of its
/// next instruction lies.
struct SavedContext {
  void* stack = nullptr;
};

#if defined(__AVX512F__)
#define EMULATOR_AVX512_REGISTERS                                                                      \
  , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", \
      "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define EMULATOR_AVX512_REGISTERS
#endif

__attribute__((always_inline)) inline void switch_context(SavedContext& leave, SavedContext& enter) {
  void* to = enter.stack;
  void** from = &leave.stack;
  asm volatile(
      "subq $128, %%rsp\n\t"  // what lies below the stack pointer may be in use (the red zone)
      "pushq %%rbp\n\t"
      "pushq %%rbx\n\t"
      "leaq 1f(%%rip), %%rdx\n\t"
      "pushq %%rdx\n\t"
      "movq %%rsp, (%[from])\n\t"
      "movq %[to], %%rsp\n\t"
      "popq %%rdx\n\t"
      "jmpq *%%rdx\n"
      "1:\n\t"
      "popq %%rbx\n\t"
      "popq %%rbp\n\t"
      "addq $128, %%rsp"
      : [from] "+a"(from), [to] "+c"(to)
      :
      : "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc", "xmm0",
        "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15" EMULATOR_AVX512_REGISTERS);
}
#undef EMULATOR_AVX512_REGISTERS

/// Continues `enter`; the running fiber never does again.
[[noreturn]] inline void enter_context(SavedContext& enter) {
  asm volatile(
      "movq %0, %%rsp\n\t"
      "popq %%rdx\n\t"
      "jmpq *%%rdx"
      :
      : "a"(enter.stack)
      : "rdx", "memory");
  __builtin_unreachable();
}

/// A context that calls kEntry, which never returns, on the stack that ends at `stack_top`.
template <void (*kEntry)()>
SavedContext new_context(char* stack_top, std::size_t) {
  // A function is entered with its return address, here none, eight bytes below a multiple of 16.
  auto* slot =
      reinterpret_cast<void**>(reinterpret_cast<std::uintptr_t>(stack_top - 32) & ~std::uintptr_t(15));
  slot[0] = reinterpret_cast<void*>(kEntry);
  slot[1] = nullptr;
  return {slot};
}

}  // namespace emulator

#else

#include <boost/context/detail/fcontext.hpp>

namespace emulator {

struct SavedContext {
  boost::context::detail::fcontext_t context = nullptr;
};

// A fiber learns only on arrival where it came from: `came.data` is the context that was left, or null.
inline void note_arrival(boost::context::detail::transfer_t came) {
  if (came.data) static_cast<SavedContext*>(came.data)->context = came.fctx;
}

inline void switch_context(SavedContext& leave, SavedContext& enter) {
  note_arrival(boost::context::detail::jump_fcontext(enter.context, &leave));
}

[[noreturn]] inline void enter_context(SavedContext& enter) {
  boost::context::detail::jump_fcontext(enter.context, nullptr);
  __builtin_unreachable();
}

template <void (*kEntry)()>
void fcontext_entry(boost::context::detail::transfer_t came) {
  note_arrival(came);
  kEntry();
}

template <void (*kEntry)()>
SavedContext new_context(char* stack_top, std::size_t bytes) {
  return {boost::context::detail::make_fcontext(stack_top, bytes, fcontext_entry<kEntry>)};
}

}  // namespace emulator

#endif
