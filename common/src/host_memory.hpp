#pragma once

#include "attention/problem.hpp"

namespace attention {

/// @throws InvalidInput where the inputs, reference and outputs of `problem` would not fit in the host's free
///   memory, with what is needed and what is free.
void check_host_memory(const Problem& problem);

}  // namespace attention
