#pragma once

namespace emulator {

class Worker;

/// Reports that no thread of the block can go on: where they wait, at which barrier, and how many have arrived there.
void report_deadlock(Worker& worker);

}  // namespace emulator
