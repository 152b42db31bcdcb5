// What compute-sanitizer's racecheck makes of named barriers, as small as it gets: two warps hand one buffer back and
// forth through bar.arrive and bar.sync, as in the producer-consumer example of the PTX ISA ("bar, barrier").
//
//   nvcc -O3 -lineinfo -arch=sm_90 docs/scripts/racecheck_named_barriers.cu -o ping && compute-sanitizer --tool racecheck ./ping
//
// Every access is ordered by a barrier. With CUDA 13.0 on an H200 racecheck reports five hazards, so what it says of
// kernels with named barriers is no evidence against them.
#include <cstdio>

__global__ void ping(int* out, int rounds) {
  __shared__ int buffer[32];
  const int lane_id = threadIdx.x % 32;
  int sum = 0;
  if (threadIdx.x < 32) {
    for (int i = 0; i < rounds; ++i) {
      if (i > 0) asm volatile("bar.sync 2, 64;" ::: "memory");  // the consumer has read
      buffer[lane_id] = i + lane_id;
      asm volatile("bar.arrive 1, 64;" ::: "memory");
    }
  } else {
    for (int i = 0; i < rounds; ++i) {
      asm volatile("bar.sync 1, 64;" ::: "memory");  // the producer has written
      sum += buffer[31 - lane_id];
      if (i + 1 < rounds) asm volatile("bar.arrive 2, 64;" ::: "memory");
    }
    out[lane_id] = sum;
  }
}

int main() {
  int* out = nullptr;
  if (cudaMalloc(&out, 32 * sizeof(int)) != cudaSuccess) return 1;
  for (const int rounds : {1, 2, 8}) ping<<<1, 64>>>(out, rounds);
  const cudaError_t status = cudaDeviceSynchronize();
  std::printf("%s\n", cudaGetErrorString(status));
  return status == cudaSuccess ? 0 : 1;
}
