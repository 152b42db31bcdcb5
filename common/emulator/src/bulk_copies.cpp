#include "bulk_copies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "cluster.hpp"
#include "device_memory.hpp"
#include "tracer.hpp"

namespace emulator {
namespace {

// Calls function(offset in shared memory, address in global memory or null) for each swizzled 16-byte chunk
// of a tile.
template <typename Function>
void for_each_chunk(const TensorMap& map, TileIndex at, std::ptrdiff_t tile, Function function) {
  for (int panel = 0; panel < map.box_panels; ++panel) {
    for (int row = 0; row < map.box_rows; ++row) {
      char* gmem = map.row_at(at.panel + panel, std::int64_t(at.row) + row, at.head);
      for (int chunk = 0; chunk < 8; ++chunk) {
        function(swizzled_128(tile + chunk * 16), gmem ? gmem + chunk * 16 : nullptr);
      }
      tile += TensorMap::kPanelBytes;
    }
  }
}

}  // namespace

void BulkCopies::begin_block(int thread_count) {
  copies_.clear();
  stores_.clear();
  committed_groups_.assign(std::size_t(thread_count), 0);
}

// ---- Loads, and stores to other blocks ----

void BulkCopies::issue(const BulkCopy& copy) {
  const Thread& self = worker_.current();
  if (!worker_.mbarriers.is_fenced(copy.mbarrier) &&
      worker_.faults.first_time(ReportKind::missing_fence, std::uintptr_t(copy.site.line))) {
    report(
        {.kind = ReportKind::missing_fence,
         .site = copy.site,
         .message = fmt::format(
             "{} thread {}: a bulk copy counts on an mbarrier that no fence_mbarrier_init() has made visible "
             "to TMA",
             worker_.name(), self.linear),
         .threads = {self.linear}});
  }
  for (unsigned ranks = copy.ranks; ranks; ranks &= ranks - 1) {
    Worker& block = worker_.block_of_cluster(unsigned(__builtin_ctz(ranks)), copy.site);
    if (Tracer* tracer = block.tracer()) {
      tracer->bulk_issued(copy.to, int(copy.bytes), copy.pc, &block == &worker_);
    }
  }
  if (Tracer* tracer = worker_.tracer()) {
    if (copy.kind == BulkCopy::Kind::value) {
      tracer->count_lane(EventKind::remote_store, copy.site);
    } else {
      tracer->count(self.warp(), EventKind::cp_async_bulk, copy.site, 1, copy.bytes);
    }
  }
  copies_.push_back(copy);
}

void BulkCopies::land_one() {
  const std::size_t chosen = copies_.size() == 1 ? 0 : worker_.scheduler.random() % copies_.size();
  const BulkCopy copy = copies_[chosen];
  copies_.erase(copies_.begin() + std::ptrdiff_t(chosen));
  carry_out(copy);
}

void BulkCopies::carry_out(const BulkCopy& copy) {
  for (unsigned ranks = copy.ranks; ranks; ranks &= ranks - 1) {
    Worker& block = worker_.cluster.block(unsigned(__builtin_ctz(ranks)));
    if (block.scheduler.live() == 0 && &block != &worker_) {
      report({.kind = ReportKind::out_of_bounds,
              .site = copy.site,
              .message = fmt::format("{} writes to the shared memory of {}, which has returned",
                                     worker_.name(), block.name())});
      worker_.fail();
    }
    switch (copy.kind) {
      case BulkCopy::Kind::line:
        std::memcpy(block.smem.at(copy.to), copy.from, copy.bytes);
        break;
      case BulkCopy::Kind::value:
        std::memcpy(block.smem.at(copy.to), copy.value, copy.bytes);
        break;
      case BulkCopy::Kind::tile:
        for_each_chunk(copy.map, copy.at, copy.to, [&](std::ptrdiff_t offset, const char* gmem) {
          if (gmem)
            std::memcpy(block.smem.at(offset), gmem, 16);
          else
            std::memset(block.smem.at(offset), 0, 16);
        });
        break;
    }
    if (Tracer* tracer = block.tracer())
      tracer->bulk_landed(copy.to, int(copy.bytes), copy.mbarrier, copy.pc);
    block.mbarriers.complete_tx(copy.mbarrier, copy.bytes, copy.site);
  }
}

// ---- Stores to global memory ----

void BulkCopies::issue_store(const Thread& thread, Site site, std::uintptr_t pc, std::ptrdiff_t from,
                             const TensorMap& map, TileIndex at) {
  if (Tracer* tracer = worker_.tracer()) {
    std::size_t bytes_inside = 0;
    for_each_chunk(map, at, from, [&](std::ptrdiff_t, const char* gmem) {
      if (gmem) bytes_inside += 16;
    });
    tracer->count(thread.warp(), EventKind::bulk_store, site, 1, bytes_inside);
    tracer->bulk_store_issued(from, int(map.box_bytes()));
  }
  stores_.push_back({thread.linear, committed_groups_[std::size_t(thread.linear)], site, pc, from, map, at});
}

void BulkCopies::commit_stores(const Thread& thread) {
  ++committed_groups_[std::size_t(thread.linear)];
}

void BulkCopies::wait_for_stores(const Thread& thread, int groups) {
  const int done_groups = committed_groups_[std::size_t(thread.linear)] - groups;
  const auto is_awaited = [&](const BulkStore& store) {
    return store.thread == thread.linear && store.group < done_groups;
  };
  for (const BulkStore& store : stores_) {
    if (is_awaited(store)) carry_out(store);
  }
  stores_.erase(std::remove_if(stores_.begin(), stores_.end(), is_awaited), stores_.end());
}

void BulkCopies::carry_out(const BulkStore& store) {
  if (Tracer* tracer = worker_.tracer()) {
    const int bytes = int(store.map.box_bytes());
    tracer->proxy_read(worker_.scheduler.thread(store.thread), store.pc, store.from, bytes);
    tracer->bulk_store_done(store.from, bytes);
  }
  for_each_chunk(store.map, store.at, store.from, [&](std::ptrdiff_t offset, char* gmem) {
    if (gmem) std::memcpy(gmem, worker_.smem.at(offset), 16);
  });
}

// ---- For kernels ----

namespace {

// The pattern of the 128-byte swizzle repeats after eight rows.
constexpr std::ptrdiff_t kSwizzleBytes = 1024;

[[noreturn]] void refuse(ReportKind kind, Site site, const std::string& what) {
  current_worker->refuse_thread(kind, site, what);
}

// Of `bytes` bytes of shared memory for a bulk copy; `alignment` in bytes.
std::ptrdiff_t checked_offset(const void* address, std::ptrdiff_t bytes, std::ptrdiff_t alignment,
                              Site site) {
  const SharedMemory& smem = current_worker->smem;
  const std::ptrdiff_t offset = smem.offset_of(address);
  if (offset < 0) {
    refuse(ReportKind::out_of_bounds, site,
           fmt::format("a bulk copy at {}, which is not shared memory", address));
  }
  if (reinterpret_cast<std::uintptr_t>(address) % std::uintptr_t(alignment) != 0) {
    refuse(ReportKind::misaligned, site,
           fmt::format("a bulk copy at {}, which is not a multiple of {} bytes", smem.name_of(offset),
                       alignment));
  }
  if (offset + bytes > smem.bytes()) {
    refuse(ReportKind::out_of_bounds, site,
           fmt::format("a bulk copy of {} bytes at {}, of which the last {} are outside shared memory", bytes,
                       smem.name_of(offset), offset + bytes - smem.bytes()));
  }
  return offset;
}

void check_global(const char* begin, std::size_t bytes, Site site) {
  current_worker->check_previous_launch(site, 0);
  const DeviceMemory& memory = DeviceMemory::instance();
  if (memory.contains(begin) && memory.is_usable(begin, bytes)) return;
  const Allocation* allocation = memory.contains(begin) ? memory.find(begin) : nullptr;
  refuse(allocation && allocation->freed ? ReportKind::use_after_free : ReportKind::out_of_bounds, site,
         fmt::format("a bulk copy of {} bytes at global memory, {}", bytes, memory.describe(begin)));
}

const TensorMap& checked_map(const CUtensorMap* map, TileIndex at, Site site) {
  const auto& contents = *reinterpret_cast<const TensorMap*>(map);
  if (contents.mark != TensorMap::kMark) {
    refuse(ReportKind::out_of_bounds, site, "a tensor map that make_tensor_map() did not make");
  }
  // The part of the box inside the tensor must be inside its allocation. In a panel of a head, rows
  // are evenly spaced.
  for (int panel = at.panel; panel < at.panel + contents.box_panels; ++panel) {
    const std::int64_t first = std::max(at.row, 0);
    const std::int64_t last =
        std::min<std::int64_t>(std::int64_t(at.row) + contents.box_rows, contents.rows) - 1;
    if (first > last || !contents.row_at(panel, first, at.head)) continue;
    check_global(contents.row_at(panel, first, at.head),
                 std::size_t((last - first) * contents.row_bytes + TensorMap::kPanelBytes), site);
  }
  return contents;
}

}  // namespace

void async_proxy_fence() {
  Worker& worker = *current_worker;
  worker.mbarriers.fence_init();
  if (Tracer* tracer = worker.tracer()) tracer->proxy_fence();
}

void cp_async_bulk(void* to, const void* from, unsigned bytes, std::uint64_t* barrier, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  if (bytes % 16 != 0 || reinterpret_cast<std::uintptr_t>(from) % 16 != 0) {
    refuse(ReportKind::misaligned, site,
           fmt::format("a bulk copy of {} bytes from {}, which are not both multiples of 16", bytes, from));
  }
  check_global(static_cast<const char*>(from), bytes, site);
  worker.bulk_copies.issue({.kind = BulkCopy::Kind::line,
                            .site = site,
                            .pc = pc,
                            .to = checked_offset(to, bytes, 16, site),
                            .mbarrier = worker.mbarriers.offset_of(barrier, site),
                            .bytes = bytes,
                            .ranks = 1u << worker.rank,
                            .from = static_cast<const char*>(from),
                            .map = {},
                            .at = {},
                            .value = {}});
}

void tile_load(void* to, const CUtensorMap* map, TileIndex at, std::uint64_t* barrier, unsigned ranks,
               Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  const TensorMap& contents = checked_map(map, at, site);
  worker.bulk_copies.issue({.kind = BulkCopy::Kind::tile,
                            .site = site,
                            .pc = pc,
                            .to = checked_offset(to, contents.box_bytes(), kSwizzleBytes, site),
                            .mbarrier = worker.mbarriers.offset_of(barrier, site),
                            .bytes = contents.box_bytes(),
                            .ranks = ranks,
                            .from = nullptr,
                            .map = contents,
                            .at = at,
                            .value = {}});
}

void store_async(std::uint32_t to, const void* value, int bytes, std::uint32_t barrier, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  const ClusterAddress target(to), mbarrier(barrier);
  if (target.rank != mbarrier.rank)
    refuse(ReportKind::bad_mbarrier, site, "a store to one block and its mbarrier in another");
  const Worker& block = worker.block_of_cluster(target.rank, site);
  if (target.offset % bytes != 0 || target.offset + bytes > block.smem.bytes()) {
    refuse(target.offset % bytes != 0 ? ReportKind::misaligned : ReportKind::out_of_bounds, site,
           fmt::format("a store of {} bytes at offset {} of the shared memory of block {}", bytes,
                       target.offset, target.rank));
  }
  BulkCopy copy = {.kind = BulkCopy::Kind::value,
                   .site = site,
                   .pc = pc,
                   .to = target.offset,
                   .mbarrier = mbarrier.offset,
                   .bytes = unsigned(bytes),
                   .ranks = 1u << target.rank,
                   .from = nullptr,
                   .map = {},
                   .at = {},
                   .value = {}};
  std::memcpy(copy.value, value, std::size_t(bytes));
  worker.bulk_copies.issue(copy);
}

void tile_store(const void* from, const CUtensorMap* map, TileIndex at, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  // An H200 loads such a box, with zeros, and stops at its store: "illegal instruction".
  if (at.panel < 0 || at.row < 0 || at.head < 0) {
    refuse(ReportKind::out_of_bounds, site,
           fmt::format("a TMA store of a box that begins at panel {}, row {}, head {}, before the first",
                       at.panel, at.row, at.head));
  }
  const TensorMap& contents = checked_map(map, at, site);
  const std::ptrdiff_t offset = checked_offset(from, contents.box_bytes(), kSwizzleBytes, site);
  worker.bulk_copies.issue_store(worker.current(), site, pc, offset, contents, at);
}

void cp_async_bulk_commit_group() {
  current_worker->bulk_copies.commit_stores(current_worker->current());
}

void cp_async_bulk_wait_group(int groups) {
  current_worker->bulk_copies.wait_for_stores(current_worker->current(), groups);
}

}  // namespace emulator
