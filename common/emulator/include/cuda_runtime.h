#pragma once

// Stand-in for <cuda_runtime.h>, found before any CUDA toolkit's: kernels and the code that launches them
// compile as plain C++ against this and run on the emulated device.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "emulator/atomic_functions.hpp"
#include "emulator/launch.hpp"
#include "emulator/math_functions.hpp"
#include "emulator/qualifiers.hpp"
#include "emulator/runtime_api.hpp"
#include "emulator/thread_functions.hpp"
#include "emulator/vector_types.hpp"
