#include "scheduler.hpp"

#include <utility>

#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {
namespace {

unsigned lanes_below(int count) {
  return count >= 32 ? kAllLanes : (1u << count) - 1;
}

}  // namespace

void Scheduler::begin_launch(dim3 block) {
  block_ = block;
  thread_count_ = int(block.x * block.y * block.z);
  warp_count_ = (thread_count_ + 31) / 32;
}

void Scheduler::begin_block(const FiberStacks& stacks, int first_stack, std::uint64_t seed, Tracer* tracer) {
  live_ = thread_count_;
  tracer_ = tracer;
  random_ = seed | 1;  // never zero
  random();
  ready_warps_ = lanes_below(warp_count_);
  for (int warp = 0; warp < warp_count_; ++warp) {
    existing_[warp] = alive_[warp] = ready_[warp] = lanes_below(thread_count_ - warp * 32);
  }
  for (int i = 0; i < thread_count_; ++i) {
    Thread& thread = threads_[i];
    thread.index = {unsigned(i) % block_.x, unsigned(i) / block_.x % block_.y,
                    unsigned(i) / (block_.x * block_.y)};
    thread.linear = i;
    thread.state = State::ready;
    thread.site = {};
    stacks.prepare<start_thread>(thread.fiber, first_stack + i);
  }
  current_warp_ = pick_bit(ready_warps_);
}

// What a thread's fiber runs.
void Scheduler::start_thread() {
  Worker& worker = *current_worker;
  Scheduler& scheduler = worker.scheduler;
  scheduler.current_->fiber.arrived(&scheduler.block_loop_);
  worker.run_thread();
}

void Scheduler::run() {
  current_ = pick_next();
  block_loop_.switch_to(current_->fiber);
  current_ = nullptr;
}

std::uint64_t Scheduler::random() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return random_;
}

int Scheduler::pick_bit(unsigned mask) {
  const unsigned first = unsigned(random() >> 32) & 31;
  const unsigned rotated = (mask >> first) | (mask << ((32 - first) & 31));
  return (__builtin_ctz(rotated) + int(first)) & 31;
}

// A lane of the warp that ran last if there is one, else of another warp. Null: no thread can run.
Thread* Scheduler::pick_next() {
  if (tracer_ && !ready_[current_warp_]) tracer_->continue_threads_with_full_logs(current_warp_);
  if (!ready_[current_warp_]) {
    if (!ready_warps_) return nullptr;
    current_warp_ = pick_bit(ready_warps_);
  }
  unsigned& ready = ready_[current_warp_];
  const int lane = pick_bit(ready);
  ready &= ~(1u << lane);
  if (!ready) ready_warps_ &= ~(1u << current_warp_);
  return &threads_[current_warp_ * 32 + lane];
}

void Scheduler::make_ready(Thread& thread) {
  thread.state = State::ready;
  ready_[thread.warp()] |= 1u << thread.lane();
  ready_warps_ |= 1u << thread.warp();
}

void Scheduler::keep_current() {
  const int warp = current_->warp();
  current_->state = State::ready;
  ready_[warp] &= ~(1u << current_->lane());
  if (!ready_[warp]) ready_warps_ &= ~(1u << warp);
}

void Scheduler::retire(Thread& thread) {
  thread.state = State::exited;
  alive_[thread.warp()] &= ~(1u << thread.lane());
  --live_;
}

void Scheduler::leave_returned() {
  Thread& from = *current_;
  current_ = pick_next();
  ++switches_;
  from.fiber.leave_for(current_ ? current_->fiber : block_loop_);
}

void Scheduler::abandon_block() {
  Thread& from = *current_;
  current_ = nullptr;
  from.fiber.leave_for(block_loop_);
}

std::uint64_t Scheduler::take_switches() {
  return std::exchange(switches_, 0);
}

}  // namespace emulator
