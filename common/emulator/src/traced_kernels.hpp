#pragma once

namespace emulator {

/// Makes sure that all kernels of this program are traced: where they are plain, starts the program again,
/// with lib/traced first on the dynamic linker's path. Then it does not return.
/// @throws attention::InvalidInput where traced kernels are not built, or the program cannot start again.
void need_traced_kernels();

}  // namespace emulator
