#pragma once

namespace emulator {

struct Worker;

/// Makes a fault in a kernel (an access to a guard page, a misaligned vector access, a stack that ran over)
/// end the launch with a report in place of the process. To be called by each OS thread that runs blocks.
void install_fault_handler();

}  // namespace emulator
