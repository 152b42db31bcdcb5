#pragma once

#include <cuda_runtime.h>

#include "attention/error.hpp"

namespace attention {

/// @throws CudaError "file:line: expression: message" unless `status` is cudaSuccess.
void cuda_check(cudaError_t status, const char* expression, const char* file, int line);

}  // namespace attention

/// Checks one CUDA runtime call. @throws CudaError. A macro, because the message quotes the expression.
#define CUDA_CHECK(expression) ::attention::cuda_check((expression), #expression, __FILE__, __LINE__)
