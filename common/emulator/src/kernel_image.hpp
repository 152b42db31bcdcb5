#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace emulator {

/// A `__shared__` variable outside the dynamic array: a thread-local variable of the library its
/// kernel is in.
struct SharedVariable {
  std::size_t offset;  ///< in the library's thread-local segment
  std::size_t bytes;
  std::string name;
  std::string mangled;
};

/// The program or library that kernels were loaded from. Its thread-local segment is the static shared memory
/// of the block that runs on a thread.
class KernelImage {
 public:
  /// The image that `address` (of a function) lies in; lives as long as the process.
  static const KernelImage& of(const void* address);

  /// Was it compiled with hooks on memory accesses?
  bool traced() const { return traced_; }
  /// The variable at an offset in the segment, or null. gcc's guard variables are not among them.
  const SharedVariable* variable_at(std::size_t offset) const;
  /// A kernel's name without its parameters.
  std::string name_of(const void* function) const;
  /// Bytes of the shared variables that `kernel` itself declares.
  std::size_t static_smem_bytes(const void* kernel) const;
  const std::string& path() const { return path_; }

  /// The calling thread's copy of the segment.
  struct Segment {
    char* begin;
    char* end;
  };
  Segment segment() const;

 private:
  explicit KernelImage(const void* address);
  void read_symbols();
  struct Function {
    std::uintptr_t offset;
    std::string mangled;
  };

  std::string path_;
  std::uintptr_t base_ = 0;
  bool traced_ = false;
  std::vector<SharedVariable> variables_;  // by offset
  std::vector<Function> functions_;        // by offset
};

/// Is any loaded image traced?
bool any_image_traced();

/// File names of the loaded libraries of kernels that are not traced. A library of kernels is one that
/// `folder`, where the emulated device's own library lies, has too.
std::vector<std::string> plain_kernel_libraries(const std::string& folder);

}  // namespace emulator
