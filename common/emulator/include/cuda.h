#pragma once

// Stand-in for the driver API's <cuda.h>: the tensor map, which make_tensor_map() of
// attention/tensor_map.hpp fills in.

struct alignas(64) CUtensorMap_st {
  unsigned long long opaque[16];
};
typedef CUtensorMap_st CUtensorMap;
