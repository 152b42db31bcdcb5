#pragma once

#include <cuda_runtime.h>

#include "attention/error.hpp"

namespace attention {

/// @throws CudaError "file:line: expression: message" unless `status` is cudaSuccess.
void cuda_check(cudaError_t status, const char* expression, const char* file, int line);

}  // namespace attention

/// Checks one CUDA runtime call; a macro only because the expression's own text belongs in the message.
#define CUDA_CHECK(expression) ::attention::cuda_check((expression), #expression, __FILE__, __LINE__)
