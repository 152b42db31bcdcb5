#include "attention/tensor_map.hpp"

#include <cstdint>

namespace attention {
namespace {

using EncodeTiled = decltype(cuTensorMapEncodeTiled);

// The driver's function, or null.
EncodeTiled* find_encode_tiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
  if (status != cudaSuccess || found != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<EncodeTiled*>(function);
}

}  // namespace

cudaError_t make_tensor_map(CUtensorMap* map, const half* tensor, int heads, int rows, int head_dim,
                            int box_rows, int box_columns) {
  static EncodeTiled* const encode = find_encode_tiled();
  if (encode == nullptr) return cudaErrorNotSupported;
  // Columns of a panel, rows, panels, heads: a box of several panels leaves them one after the other.
  constexpr int kPanel = 64;
  const std::uint64_t row_bytes = std::uint64_t(head_dim) * sizeof(half);
  const cuuint64_t sizes[] = {kPanel, cuuint64_t(rows), cuuint64_t(head_dim / kPanel), cuuint64_t(heads)};
  const cuuint64_t strides_bytes[] = {row_bytes, kPanel * sizeof(half), rows * row_bytes};
  const cuuint32_t box[] = {kPanel, cuuint32_t(box_rows), cuuint32_t(box_columns / kPanel), 1};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  const CUresult result =
      encode(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4, const_cast<half*>(tensor), sizes, strides_bytes, box,
             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace attention
