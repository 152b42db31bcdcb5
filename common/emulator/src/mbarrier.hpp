#pragma once

#include <cstdint>

#include "worker.hpp"

namespace emulator {

/// The offset of an mbarrier in shared memory; ends the block with a report where it cannot be one.
std::ptrdiff_t mbarrier_offset(Worker& block, const void* barrier, Site site);
/// An arrival, by a thread of any block of the cluster, that makes the phase wait for `bytes` more.
void arrive_at_mbarrier(Worker& block, std::ptrdiff_t offset, unsigned bytes, Site site);
/// Counts the bytes of a copy that has landed.
void count_bytes_at_mbarrier(Worker& block, std::ptrdiff_t offset, unsigned bytes, Site site);
/// "1 of 2 arrivals and 8192 bytes missing"
std::string mbarrier_in_words(Worker& block, std::ptrdiff_t offset);

}  // namespace emulator
