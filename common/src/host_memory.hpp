#pragma once

#include "attention/problem.hpp"

namespace attention {

/// @throws InvalidInput where inputs, reference and outputs of `problem` would not fit in the host's free
/// memory.
void check_host_memory(const Problem& problem);

}  // namespace attention
