// The memory part of the CUDA runtime API.

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>

#include "device_memory.hpp"
#include "emulator/runtime_api.hpp"
#include "report.hpp"
#include "runtime_state.hpp"

using emulator::DeviceMemory;
using emulator::remember;
using emulator::submit;

namespace {

// Would a GPU accept `kind` for these addresses? Device pointers must lie in one live allocation.
cudaError_t check_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const DeviceMemory& memory = DeviceMemory::instance();
  const bool to_device = memory.contains(to), from_device = memory.contains(from);
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  const bool wants_to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool wants_from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind != cudaMemcpyDefault && (to_device != wants_to_device || from_device != wants_from_device)) {
    return cudaErrorInvalidValue;
  }
  if (!memory.is_usable(to, bytes) || !memory.is_usable(from, bytes)) return cudaErrorInvalidValue;
  return cudaSuccess;
}

cudaError_t report_bad_free(DeviceMemory::FreeResult result, void* pointer) {
  if (result == DeviceMemory::FreeResult::freed) return cudaSuccess;
  const bool twice = result == DeviceMemory::FreeResult::double_free;
  emulator::report({.kind = emulator::ReportKind::double_free,
                    .site = {},
                    .pc = reinterpret_cast<std::uintptr_t>(pointer),
                    .message = fmt::format("cudaFree of {}, which {}", pointer,
                                           twice ? "is free already" : "no allocation begins at")});
  emulator::publish_findings();
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  if (!pointer) return remember(cudaErrorInvalidValue);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  *pointer = DeviceMemory::instance().allocate(bytes);
  return remember(*pointer ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void* pointer) {
  if (!pointer) return emulator::device_error();
  const cudaError_t error = report_bad_free(DeviceMemory::instance().free(pointer), pointer);
  return remember(error ? error : emulator::device_error());
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  *free_bytes = DeviceMemory::instance().free_bytes();
  *total_bytes = DeviceMemory::instance().total_bytes();
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (const cudaError_t error = check_copy(to, from, bytes, kind)) return remember(error);
  return remember(submit(stream, {cudaGraphNodeTypeMemcpy, [=] {
                                    if (const cudaError_t error = emulator::device_error()) return error;
                                    std::memmove(to, from, bytes);
                                    return cudaSuccess;
                                  }}));
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  const DeviceMemory& memory = DeviceMemory::instance();
  if (!memory.contains(to) || !memory.is_usable(to, bytes)) return remember(cudaErrorInvalidValue);
  return remember(submit(stream, {cudaGraphNodeTypeMemset, [=] {
                                    if (const cudaError_t error = emulator::device_error()) return error;
                                    std::memset(to, value, bytes);
                                    return cudaSuccess;
                                  }}));
}

cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
