#include "host_memory.hpp"

#include <cuda_fp16.h>
#include <fmt/format.h>

#include <fstream>
#include <limits>
#include <string>

#include "attention/error.hpp"
#include "attention/text.hpp"

namespace attention {
namespace {

// MemAvailable of /proc/meminfo: with overcommit even an allocation that will not fit succeeds.
std::size_t available_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  std::string field;
  std::size_t kibibytes = 0;
  while (meminfo >> field) {
    if (field == "MemAvailable:" && meminfo >> kibibytes) return 1024 * kibibytes;
  }
  return std::numeric_limits<std::size_t>::max();  // unknown: let the allocation decide
}

}  // namespace

void check_host_memory(const Problem& problem) {
  // Inputs and outputs in half, twice because checks copy them; the reference converts K and V to double and
  // has O in double and in half.
  const std::size_t need =
      (2 * sizeof(half) + sizeof(double)) * (problem.q_elements() + 2 * problem.kv_elements()) +
      (2 * sizeof(half) + sizeof(double)) * problem.q_elements();
  const std::size_t available = available_bytes();
  if (need > available) {
    throw InvalidInput(fmt::format("this shape needs about {} of host memory; {} are free",
                                   bytes_in_words(need), bytes_in_words(available)));
  }
}

}  // namespace attention
