// Operations of a warp on registers: barriers of lanes, shuffles, votes, matches, reductions.

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {
namespace {

// Calls function(lane) for each lane of a mask.
template <typename Function>
void for_each_lane(unsigned mask, Function function) {
  for (; mask; mask &= mask - 1) function(__builtin_ctz(mask));
}

void count(Worker& worker, const Thread* lanes, unsigned mask, EventKind kind) {
  const Thread& first = lanes[__builtin_ctz(mask)];
  if (Tracer* tracer = worker.tracer()) tracer->count(first.warp(), kind, first.site);
}

// ---- __syncwarp ----

bool perform_warp_barrier(Worker& worker, Thread* lanes, unsigned mask) {
  count(worker, lanes, mask, EventKind::warp_barrier);
  if (Tracer* tracer = worker.tracer()) tracer->warp_barrier_passed(lanes[0].warp());
  return true;
}
constexpr WarpOperation kWarpBarrier = {"__syncwarp", false, perform_warp_barrier};

// ---- Shuffles ----

struct ShuffleArguments {
  void* value;
  int bytes;
  int source_lane;
};

bool perform_shuffle(Worker& worker, Thread* lanes, unsigned mask) {
  count(worker, lanes, mask, EventKind::shuffle);
  constexpr int kMaxBytes = 16;
  unsigned char before[32][kMaxBytes];
  for_each_lane(mask, [&](int lane) {
    const auto& arguments = *static_cast<ShuffleArguments*>(lanes[lane].arguments);
    std::memcpy(before[lane], arguments.value, std::size_t(arguments.bytes));
  });
  for_each_lane(mask, [&](int lane) {
    const auto& arguments = *static_cast<ShuffleArguments*>(lanes[lane].arguments);
    if (mask >> arguments.source_lane & 1) {
      std::memcpy(arguments.value, before[arguments.source_lane], std::size_t(arguments.bytes));
      return;
    }
    // The value is undefined on a GPU; all ones (NaN) shows in the result.
    std::memset(arguments.value, 0xff, std::size_t(arguments.bytes));
    const Thread& self = lanes[lane];
    if (!worker.faults.first_time(ReportKind::bad_mask, std::uintptr_t(self.site.line))) return;
    report({.kind = ReportKind::bad_mask,
            .site = self.site,
            .message = fmt::format(
                "{} thread {} reads lane {} by {}, which is not among the lanes {:08x} that take part",
                worker.name(), self.linear, arguments.source_lane, self.operation->name, mask),
            .threads = {self.linear}});
  });
  return true;
}
// In the order of the enumeration.
constexpr WarpOperation kShuffles[] = {{"__shfl_sync", false, perform_shuffle},
                                       {"__shfl_up_sync", false, perform_shuffle},
                                       {"__shfl_down_sync", false, perform_shuffle},
                                       {"__shfl_xor_sync", false, perform_shuffle}};

// ---- Votes ----

struct VoteArguments {
  bool predicate;
  unsigned result;
};

bool perform_ballot(Worker& worker, Thread* lanes, unsigned mask) {
  count(worker, lanes, mask, EventKind::vote);
  unsigned result = 0;
  for_each_lane(mask, [&](int lane) {
    result |= unsigned(static_cast<VoteArguments*>(lanes[lane].arguments)->predicate) << lane;
  });
  for_each_lane(mask, [&](int lane) { static_cast<VoteArguments*>(lanes[lane].arguments)->result = result; });
  return true;
}
constexpr WarpOperation kVotes[] = {{"__ballot_sync", false, perform_ballot},
                                    {"__any_sync", false, perform_ballot},
                                    {"__all_sync", false, perform_ballot},
                                    {"elect.sync", false, perform_ballot}};

struct MatchArguments {
  const void* value;
  int bytes;
  unsigned result;
};

bool perform_match(Worker& worker, Thread* lanes, unsigned mask) {
  count(worker, lanes, mask, EventKind::vote);
  for_each_lane(mask, [&](int lane) {
    auto& mine = *static_cast<MatchArguments*>(lanes[lane].arguments);
    mine.result = 0;
    for_each_lane(mask, [&](int other_lane) {
      const auto& other = *static_cast<MatchArguments*>(lanes[other_lane].arguments);
      if (std::memcmp(mine.value, other.value, std::size_t(mine.bytes)) == 0) mine.result |= 1u << other_lane;
    });
  });
  return true;
}
constexpr WarpOperation kMatch = {"__match_sync", false, perform_match};

struct ReduceArguments {
  Reduction reduction;
  bool is_signed;
  std::uint32_t value;
};

std::uint32_t combine(const ReduceArguments& arguments, std::uint32_t a, std::uint32_t b) {
  const bool a_is_less = arguments.is_signed ? std::int32_t(a) < std::int32_t(b) : a < b;
  switch (arguments.reduction) {
    case Reduction::add:
      return a + b;
    case Reduction::min:
      return a_is_less ? a : b;
    case Reduction::max:
      return a_is_less ? b : a;
    case Reduction::bit_and:
      return a & b;
    case Reduction::bit_or:
      return a | b;
    case Reduction::bit_xor:
      return a ^ b;
  }
  return 0;
}

bool perform_reduce(Worker& worker, Thread* lanes, unsigned mask) {
  count(worker, lanes, mask, EventKind::vote);
  const ReduceArguments first = *static_cast<ReduceArguments*>(lanes[__builtin_ctz(mask)].arguments);
  std::uint32_t result = first.value;
  for_each_lane(mask & (mask - 1), [&](int lane) {
    result = combine(first, result, static_cast<ReduceArguments*>(lanes[lane].arguments)->value);
  });
  for_each_lane(mask,
                [&](int lane) { static_cast<ReduceArguments*>(lanes[lane].arguments)->value = result; });
  return true;
}
constexpr WarpOperation kReduce = {"__reduce_sync", false, perform_reduce};

// ---- Butterfly reductions ----
//
// The five shuffles of a warp's sum, with the same roundings, in one meeting of its lanes. Meetings are what
// costs time here, and some kernels do little else.

struct ButterflyArguments {
  int lanes;
  float value;
};

template <typename Combine>
void reduce_by_butterfly(Thread* lanes, unsigned mask, Combine combine) {
  float values[32] = {}, partners[32] = {};
  int group = 1;
  for_each_lane(mask, [&](int lane) {
    const auto& arguments = *static_cast<ButterflyArguments*>(lanes[lane].arguments);
    values[lane] = arguments.value;
    group = arguments.lanes;
  });
  for (int distance = group / 2; distance > 0; distance /= 2) {
    for (int lane = 0; lane < 32; ++lane) partners[lane] = values[lane ^ distance];
    for (int lane = 0; lane < 32; ++lane) values[lane] = combine(values[lane], partners[lane]);
  }
  for_each_lane(
      mask, [&](int lane) { static_cast<ButterflyArguments*>(lanes[lane].arguments)->value = values[lane]; });
}

template <Butterfly kKind>
bool perform_butterfly(Worker& worker, Thread* lanes, unsigned mask) {
  if (Tracer* tracer = worker.tracer()) {
    const int group = static_cast<ButterflyArguments*>(lanes[__builtin_ctz(mask)].arguments)->lanes;
    const std::uint64_t rounds = std::uint64_t(__builtin_ctz(unsigned(group)));
    tracer->count(lanes[0].warp(), EventKind::shuffle, lanes[__builtin_ctz(mask)].site, rounds);
  }
  if constexpr (kKind == Butterfly::sum)
    reduce_by_butterfly(lanes, mask, [](float a, float b) { return a + b; });
  else
    reduce_by_butterfly(lanes, mask, [](float a, float b) { return std::fmax(a, b); });
  return true;
}
constexpr WarpOperation kButterflies[] = {{"a warp's sum", false, perform_butterfly<Butterfly::sum>},
                                          {"a warp's maximum", false, perform_butterfly<Butterfly::max>}};

}  // namespace

void warp_barrier(unsigned mask, Site site) {
  current_worker->join(kWarpBarrier, mask, nullptr, site);
}

void shuffle(Shuffle kind, void* value, int bytes, int source_lane, unsigned mask, Site site) {
  ShuffleArguments arguments{value, bytes, source_lane};
  current_worker->join(kShuffles[int(kind)], mask, &arguments, site);
}

unsigned ballot(Vote kind, unsigned mask, bool predicate, Site site) {
  VoteArguments arguments{predicate, 0};
  current_worker->join(kVotes[int(kind)], mask, &arguments, site);
  return arguments.result;
}

unsigned match_any(unsigned mask, const void* value, int bytes, Site site) {
  MatchArguments arguments{value, bytes, 0};
  current_worker->join(kMatch, mask, &arguments, site);
  return arguments.result;
}

float butterfly(Butterfly kind, int lanes, float value, Site site) {
  ButterflyArguments arguments{lanes, value};
  current_worker->join(kButterflies[int(kind)], kAllLanes, &arguments, site);
  return arguments.value;
}

std::uint32_t reduce(Reduction reduction, unsigned mask, std::uint32_t value, bool is_signed, Site site) {
  ReduceArguments arguments{reduction, is_signed, value};
  current_worker->join(kReduce, mask, &arguments, site);
  return arguments.value;
}

}  // namespace emulator
