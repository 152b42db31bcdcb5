#pragma once

#include <cuda_fp16.h>

#include <array>
#include <filesystem>
#include <span>
#include <vector>

namespace attention {

/// A four-dimensional array from a NumPy .npy file, converted to half.
struct NpyArray {
  std::array<int, 4> shape;  ///< [batch, heads, rows, head_dim]
  std::vector<half> values;  ///< in host memory, C order
};

/// Reads a .npy file (format 1.0, 2.0 or 3.0), float16 or float32, little-endian, C order, four dimensions.
/// @throws InvalidInput, one line that names the file and what is wrong: it is missing, not a .npy file,
///   truncated or too long, of another type, in Fortran order, of another number of dimensions, or has a zero
///   or huge dimension.
NpyArray read_npy(const std::filesystem::path& path);

/// Writes `values` (host memory, C order) as float16 in format 1.0. The file appears whole or not at all, as
/// write_whole_file() does it. @throws InvalidInput where it cannot be written, std::logic_error where
/// `shape` does not have as many elements as there are values.
void write_npy(const std::filesystem::path& path, std::span<const int> shape, std::span<const half> values);

}  // namespace attention
