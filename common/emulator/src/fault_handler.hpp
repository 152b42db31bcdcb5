#pragma once

namespace emulator {

/// While it lives, a fault in a kernel (an access to a guard page, a misaligned vector access, a
/// stack that ran over) ends the launch with a report in place of the process. Other signal handlers
/// are back afterwards.
class FaultHandler {
 public:
  FaultHandler();
  ~FaultHandler();
};

/// Gives the calling OS thread a stack for signal handlers: its own may be what ran over.
void make_signal_stack();

}  // namespace emulator
