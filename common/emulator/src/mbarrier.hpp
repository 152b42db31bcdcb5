#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "thread.hpp"

namespace emulator {

/// The mbarriers of one block: 8 bytes of its shared memory each, that count arrivals and bytes. A thread
/// that waits is blocked until the phase has ended, where a GPU's thread polls.
class Mbarriers {
 public:
  explicit Mbarriers(Worker& block) : block_(block) {}
  void begin_block();

  /// The offset of an mbarrier in shared memory; ends the block with a report where it cannot be one.
  std::ptrdiff_t offset_of(const void* barrier, Site site);
  void init(std::ptrdiff_t offset, unsigned arrivals, Site site);
  /// Makes those that were initialised visible to TMA.
  void fence_init() { unfenced_.clear(); }
  bool is_fenced(std::ptrdiff_t offset) const;

  /// An arrival, by a thread of any block of the cluster, that makes the phase wait for `bytes` more.
  void arrive(std::ptrdiff_t offset, unsigned bytes, Site site);
  /// The bytes of a copy that has landed.
  void complete_tx(std::ptrdiff_t offset, unsigned bytes, Site site);
  /// False: the phase of this parity has not ended, and the thread waits for that.
  bool wait(Thread& thread, std::ptrdiff_t offset, unsigned parity, Site site);
  /// "mbarrier full, which lacks 1 of 2 arrivals and 8192 bytes", for a thread that waits.
  std::string in_words(const Thread& thread) const;

 private:
  struct Waiting {
    Thread* thread;
    std::ptrdiff_t offset;
    unsigned parity;
  };
  struct Bits;
  [[noreturn]] void refuse(std::ptrdiff_t offset, Site site, const std::string& what);
  Bits read(std::ptrdiff_t offset, Site site);
  void write(std::ptrdiff_t offset, Bits bits);
  void settle(std::ptrdiff_t offset, Bits bits);

  Worker& block_;
  std::vector<Waiting> waiting_;
  std::vector<std::ptrdiff_t> unfenced_;
};

}  // namespace emulator
