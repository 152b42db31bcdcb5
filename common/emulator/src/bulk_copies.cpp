// Bulk copies and TMA. A load lands when nobody in the block can run, in any order, so that data that was not
// waited for is not there; a store reads its tile when its thread waits, so that a tile written too early is
// stored wrong.

#include "bulk_copies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "cluster.hpp"
#include "device_memory.hpp"
#include "mbarrier.hpp"
#include "tracer.hpp"

namespace emulator {
namespace {

constexpr std::ptrdiff_t kSwizzleBytes =
    1024;  // the pattern of the 128-byte swizzle repeats after eight rows

[[noreturn]] void refuse(ReportKind kind, Site site, const std::string& what) {
  Worker& worker = *current_worker;
  report({.kind = kind,
          .site = site,
          .message = fmt::format("{} thread {}: ", worker.block_name(), worker.current->linear) + what,
          .threads = {worker.current->linear}});
  worker.fail();
}

// Of `bytes` bytes of shared memory that the copy engine is given; `alignment` in bytes.
std::ptrdiff_t checked_offset(const void* smem, std::ptrdiff_t bytes, std::ptrdiff_t alignment, Site site) {
  Worker& worker = *current_worker;
  const std::ptrdiff_t offset = worker.shared_offset(smem);
  if (offset < 0)
    refuse(ReportKind::out_of_bounds, site,
           fmt::format("a bulk copy at {}, which is not shared memory", smem));
  if (reinterpret_cast<std::uintptr_t>(smem) % std::uintptr_t(alignment) != 0) {
    refuse(ReportKind::misaligned, site,
           fmt::format("a bulk copy at {}, which is not a multiple of {} bytes", worker.shared_name(offset),
                       alignment));
  }
  if (offset + bytes > worker.smem_bytes()) {
    refuse(ReportKind::out_of_bounds, site,
           fmt::format("a bulk copy of {} bytes at {}, of which the last {} are outside shared memory", bytes,
                       worker.shared_name(offset), offset + bytes - worker.smem_bytes()));
  }
  return offset;
}

void check_global(const char* begin, std::size_t bytes, Site site) {
  current_worker->check_launch_before(site, 0);
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
  // What of the box is inside the tensor must be inside its allocation: by panel and head the rows are evenly
  // spaced.
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

// Calls function(offset of a swizzled 16-byte chunk in shared memory, chunk in global memory or null) for a
// tile.
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

void issue(BulkCopy copy) {
  Worker& worker = *current_worker;
  if (std::find(worker.unfenced_mbarriers.begin(), worker.unfenced_mbarriers.end(), copy.mbarrier) !=
          worker.unfenced_mbarriers.end() &&
      worker.first_time(ReportKind::missing_fence, std::uintptr_t(copy.site.line))) {
    report({.kind = ReportKind::missing_fence,
            .site = copy.site,
            .message = fmt::format(
                "{} thread {}: a bulk copy counts on an mbarrier that no fence_mbarrier_init() has shown "
                "to the copy engine",
                worker.block_name(), worker.current->linear),
            .threads = {worker.current->linear}});
  }
  for (unsigned ranks = copy.ranks; ranks; ranks &= ranks - 1) {
    Worker& block = worker.block_of_cluster(unsigned(__builtin_ctz(ranks)), copy.site);
    if (block.tracer) block.tracer->bulk_issued(copy.to, int(copy.bytes), copy.pc, &block == &worker);
  }
  if (worker.tracer) {
    if (copy.kind == BulkCopy::Kind::value) {
      worker.tracer->count_lane(EventKind::remote_store, copy.site);
    } else {
      worker.tracer->count(worker.current->warp(), EventKind::cp_async_bulk, copy.site, 1, copy.bytes);
    }
  }
  worker.bulk_copies.push_back(std::move(copy));
}

void store_tile(Worker& worker, const BulkStore& store) {
  if (worker.tracer) {
    worker.tracer->proxy_read(worker.threads[store.thread], store.pc, store.from, int(store.map.box_bytes()));
    worker.tracer->bulk_store_done(store.from, int(store.map.box_bytes()));
  }
  for_each_chunk(store.map, store.at, store.from, [&](std::ptrdiff_t smem, char* gmem) {
    if (gmem) std::memcpy(gmem, worker.shared_at(smem), 16);
  });
}

}  // namespace

void carry_out(Worker& worker, const BulkCopy& copy) {
  for (unsigned ranks = copy.ranks; ranks; ranks &= ranks - 1) {
    Worker& block = worker.cluster.block(unsigned(__builtin_ctz(ranks)));
    if (block.live == 0 && &block != &worker) {
      report({.kind = ReportKind::out_of_bounds,
              .site = copy.site,
              .message = fmt::format("{} writes to the shared memory of {}, which has returned",
                                     worker.block_name(), block.block_name())});
      worker.fail();
    }
    switch (copy.kind) {
      case BulkCopy::Kind::line:
        std::memcpy(block.shared_at(copy.to), copy.from, copy.bytes);
        break;
      case BulkCopy::Kind::value:
        std::memcpy(block.shared_at(copy.to), copy.value, copy.bytes);
        break;
      case BulkCopy::Kind::tile:
        for_each_chunk(copy.map, copy.at, copy.to, [&](std::ptrdiff_t smem, const char* gmem) {
          if (gmem)
            std::memcpy(block.shared_at(smem), gmem, 16);
          else
            std::memset(block.shared_at(smem), 0, 16);
        });
        break;
    }
    if (block.tracer) block.tracer->bulk_landed(copy.to, int(copy.bytes), copy.mbarrier, copy.pc);
    count_bytes_at_mbarrier(block, copy.mbarrier, copy.bytes, copy.site);
  }
}

void async_proxy_fence() {
  Worker& worker = *current_worker;
  worker.unfenced_mbarriers.clear();
  if (worker.tracer) worker.tracer->proxy_fence();
}

void cp_async_bulk(void* to, const void* from, unsigned bytes, std::uint64_t* barrier, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  if (bytes % 16 != 0 || reinterpret_cast<std::uintptr_t>(from) % 16 != 0) {
    refuse(ReportKind::misaligned, site,
           fmt::format("a bulk copy of {} bytes from {}, which are not both multiples of 16", bytes, from));
  }
  check_global(static_cast<const char*>(from), bytes, site);
  issue({.kind = BulkCopy::Kind::line,
         .site = site,
         .pc = pc,
         .to = checked_offset(to, bytes, 16, site),
         .mbarrier = mbarrier_offset(*current_worker, barrier, site),
         .bytes = bytes,
         .ranks = 1u << current_worker->rank,
         .from = static_cast<const char*>(from),
         .map = {},
         .at = {},
         .value = {}});
}

void tile_load(void* to, const CUtensorMap* map, TileIndex at, std::uint64_t* barrier, unsigned ranks,
               Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  const TensorMap& contents = checked_map(map, at, site);
  issue({.kind = BulkCopy::Kind::tile,
         .site = site,
         .pc = pc,
         .to = checked_offset(to, contents.box_bytes(), kSwizzleBytes, site),
         .mbarrier = mbarrier_offset(*current_worker, barrier, site),
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
  if (target.offset % bytes != 0 || target.offset + bytes > block.smem_bytes()) {
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
  issue(copy);
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
  if (worker.tracer) {
    std::size_t bytes_inside = 0;
    for_each_chunk(contents, at, offset, [&](std::ptrdiff_t, const char* gmem) {
      if (gmem) bytes_inside += 16;
    });
    worker.tracer->count(worker.current->warp(), EventKind::bulk_store, site, 1, bytes_inside);
    worker.tracer->bulk_store_issued(offset, int(contents.box_bytes()));
  }
  worker.bulk_stores.push_back(
      {worker.current->linear, worker.current->bulk_groups, site, pc, offset, contents, at});
}

void cp_async_bulk_commit_group() {
  ++current_worker->current->bulk_groups;
}

void cp_async_bulk_wait_group(int groups) {
  Worker& worker = *current_worker;
  const Thread& self = *worker.current;
  auto& stores = worker.bulk_stores;
  const auto is_awaited = [&](const BulkStore& store) {
    return store.thread == self.linear && store.group < self.bulk_groups - groups;
  };
  for (const BulkStore& store : stores) {
    if (is_awaited(store)) store_tile(worker, store);
  }
  stores.erase(std::remove_if(stores.begin(), stores.end(), is_awaited), stores.end());
}

}  // namespace emulator
