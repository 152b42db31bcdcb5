#pragma once

namespace emulator {

/// IEEE binary16, which conversions round to correctly.
#if defined(__aarch64__) && !defined(__clang__) && __GNUC__ < 13
using Float16 = __fp16;  // g++ 12 knows _Float16 there in C only
#else
using Float16 = _Float16;
#endif

}  // namespace emulator
