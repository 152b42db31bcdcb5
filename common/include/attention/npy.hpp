#pragma once

#include <cuda_fp16.h>

#include <array>
#include <filesystem>
#include <span>
#include <vector>

namespace attention {

/// A four-dimensional array from a NumPy .npy file, converted to half.
struct NpyArray {
  std::array<int, 4> shape;
  std::vector<half> values;  ///< C order
};

/// Reads a .npy file (format 1.0, 2.0 or 3.0), float16 or float32, little-endian, C order, four dimensions.
/// @throws InvalidInput, one line that names the file: missing, not a .npy file, truncated or with bytes left
///   over, another type, Fortran order, another number of dimensions, a zero or huge dimension.
NpyArray read_npy(const std::filesystem::path& path);

/// Writes float16, C order, format 1.0. The file appears whole or not at all: it is written beside its place
/// and renamed. @throws InvalidInput where it cannot be written.
void write_npy(const std::filesystem::path& path, std::span<const int> shape, std::span<const half> values);

}  // namespace attention
