#include "register_pool.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "emulator/hopper_operations.hpp"
#include "worker.hpp"

namespace emulator {
namespace {

// Of a multiprocessor, which a block can have to itself, and at most of one thread.
constexpr int kRegisters = 64 * 1024;
constexpr int kMostRegistersOfThread = 256;

}  // namespace

void RegisterPool::begin_block(int thread_count) {
  free_ = 0;
  waiting_.clear();
  std::fill_n(of_warp_, kMaxWarps, std::min(kRegisters / thread_count, kMostRegistersOfThread) / 8 * 8);
}

bool RegisterPool::take(Request request) {
  const int more = request.registers - of_warp_[request.warp];
  if (more > free_) return false;
  free_ -= more;
  of_warp_[request.warp] = request.registers;
  return true;
}

bool RegisterPool::raise(int warp, int registers) {
  const Request request = {warp, registers};
  if (take(request)) return true;
  Thread* lanes = worker_.scheduler.lanes(warp);
  for (int lane = 0; lane < 32; ++lane) lanes[lane].state = State::at_register_pool;
  waiting_.push_back(request);
  return false;
}

void RegisterPool::lower(int warp, int registers) {
  free_ += of_warp_[warp] - registers;
  of_warp_[warp] = registers;
  const auto served = [&](Request request) {
    if (!take(request)) return false;
    Thread* lanes = worker_.scheduler.lanes(request.warp);
    for (int lane = 0; lane < 32; ++lane) worker_.scheduler.make_ready(lanes[lane]);
    return true;
  };
  waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), served), waiting_.end());
}

std::string RegisterPool::in_words(const Thread& thread) const {
  const auto waiting = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&](Request request) { return request.warp == thread.warp(); });
  return fmt::format("{} registers per thread, of which {} are missing", waiting->registers,
                     waiting->registers - of_warp_[waiting->warp] - free_);
}

// ---- For kernels ----

namespace {

bool perform_raise(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  const int registers = *static_cast<const int*>(lanes[0].arguments), warp = lanes[0].warp();
  if (registers < worker.registers.of(warp)) {
    worker.refuse_warp(
        ReportKind::bad_registers, lanes[0],
        fmt::format("setmaxnreg_inc to {}, of {} already", registers, worker.registers.of(warp)));
  }
  return worker.registers.raise(warp, registers);
}
constexpr WarpOperation kRaise = {"setmaxnreg_inc", true, perform_raise};

bool perform_lower(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  const int registers = *static_cast<const int*>(lanes[0].arguments), warp = lanes[0].warp();
  if (registers > worker.registers.of(warp)) {
    worker.refuse_warp(ReportKind::bad_registers, lanes[0],
                       fmt::format("setmaxnreg_dec to {}, of only {}", registers, worker.registers.of(warp)));
  }
  worker.registers.lower(warp, registers);
  return true;
}
constexpr WarpOperation kLower = {"setmaxnreg_dec", true, perform_lower};

}  // namespace

void setmaxnreg_inc(int registers, Site site) {
  current_worker->join(kRaise, kAllLanes, &registers, site);
}
void setmaxnreg_dec(int registers, Site site) {
  current_worker->join(kLower, kAllLanes, &registers, site);
}

}  // namespace emulator
