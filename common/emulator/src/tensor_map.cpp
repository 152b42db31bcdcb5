#include "attention/tensor_map.hpp"

#include <cstring>

#include "tensor_map.hpp"

namespace attention {

// Refuses what the driver's cuTensorMapEncodeTiled refuses.
cudaError_t make_tensor_map(CUtensorMap* map, const half* tensor, int heads, int rows, int head_dim,
                            int box_rows, int box_columns) {
  constexpr int kPanel = 64, kLargestBox = 256;
  const bool fits = heads > 0 && rows > 0 && head_dim > 0 && head_dim % kPanel == 0 && box_rows > 0 &&
                    box_rows <= kLargestBox && box_columns > 0 && box_columns % kPanel == 0 &&
                    box_columns / kPanel <= kLargestBox && reinterpret_cast<std::uintptr_t>(tensor) % 16 == 0;
  if (!fits) return cudaErrorInvalidValue;
  const emulator::TensorMap contents = {.mark = emulator::TensorMap::kMark,
                                        .tensor = reinterpret_cast<char*>(const_cast<half*>(tensor)),
                                        .heads = heads,
                                        .rows = rows,
                                        .row_bytes = std::int64_t(head_dim) * 2,
                                        .box_rows = box_rows,
                                        .box_panels = box_columns / kPanel};
  *map = {};
  std::memcpy(map, &contents, sizeof(contents));
  return cudaSuccess;
}

}  // namespace attention
