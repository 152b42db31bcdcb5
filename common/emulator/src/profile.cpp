// The counters of all launches: by kernel, by warp, by line of source; as JSON and as tables.

#include "profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <ostream>

#include "report.hpp"
#include "source_places.hpp"

namespace emulator {
namespace {

struct CounterName {
  const char* name;
  std::uint64_t Counters::*member;
};
constexpr CounterName kCounterNames[] = {
    {"global_load_requests", &Counters::global_load_requests},
    {"global_load_sectors", &Counters::global_load_sectors},
    {"global_load_sectors_ideal", &Counters::global_load_sectors_ideal},
    {"global_load_bytes", &Counters::global_load_bytes},
    {"global_store_requests", &Counters::global_store_requests},
    {"global_store_sectors", &Counters::global_store_sectors},
    {"global_store_sectors_ideal", &Counters::global_store_sectors_ideal},
    {"global_store_bytes", &Counters::global_store_bytes},
    {"shared_load_requests", &Counters::shared_load_requests},
    {"shared_load_wavefronts", &Counters::shared_load_wavefronts},
    {"shared_load_wavefronts_ideal", &Counters::shared_load_wavefronts_ideal},
    {"shared_load_bytes", &Counters::shared_load_bytes},
    {"shared_store_requests", &Counters::shared_store_requests},
    {"shared_store_wavefronts", &Counters::shared_store_wavefronts},
    {"shared_store_wavefronts_ideal", &Counters::shared_store_wavefronts_ideal},
    {"shared_store_bytes", &Counters::shared_store_bytes},
    {"async_store_wavefronts", &Counters::async_store_wavefronts},
    {"async_store_wavefronts_ideal", &Counters::async_store_wavefronts_ideal},
    {"async_bytes", &Counters::async_bytes},
    {"ldmatrix", &Counters::ldmatrix},
    {"mma", &Counters::mma},
    {"tensor_flop", &Counters::tensor_flop},
    {"cp_async", &Counters::cp_async},
    {"cp_async_commits", &Counters::cp_async_commits},
    {"cp_async_waits", &Counters::cp_async_waits},
    {"block_barriers", &Counters::block_barriers},
    {"named_barriers", &Counters::named_barriers},
    {"warp_barriers", &Counters::warp_barriers},
    {"shuffles", &Counters::shuffles},
    {"votes", &Counters::votes},
    {"atomic_requests", &Counters::atomic_requests},
    {"wgmma", &Counters::wgmma},
    {"wgmma_wavefronts", &Counters::wgmma_wavefronts},
    {"bulk_loads", &Counters::bulk_loads},
    {"bulk_load_bytes", &Counters::bulk_load_bytes},
    {"bulk_stores", &Counters::bulk_stores},
    {"bulk_store_bytes", &Counters::bulk_store_bytes},
    {"remote_stores", &Counters::remote_stores},
    {"mbarrier_arrivals", &Counters::mbarrier_arrivals},
    {"mbarrier_waits", &Counters::mbarrier_waits},
    {"max_groups_in_flight", &Counters::max_groups_in_flight},
};

// One kernel's counts, with places not yet looked up.
struct KernelBook {
  std::string kernel;
  std::uint64_t launches = 0, blocks = 0, traced_blocks = 0;
  bool events_taken = false;
  std::vector<Counters> warps;
  std::map<std::tuple<std::uintptr_t, const char*, int>, Counters> places;
  std::vector<PlacedEvent> events;
};

struct Books {
  std::mutex mutex;
  std::vector<std::unique_ptr<KernelBook>> kernels;
  KernelBook* current = nullptr;
};
Books& books() {
  static auto* books = new Books;
  return *books;
}

Place resolve(std::uintptr_t pc, Site site) {
  return site.file ? Place{std::filesystem::path(site.file).lexically_normal().string(), site.line}
                   : place_of(pc);
}

// Sectors and wavefronts beyond the ideal: what a line wastes.
std::uint64_t waste(const Counters& counters) {
  return counters.global_load_sectors - counters.global_load_sectors_ideal + counters.global_store_sectors -
         counters.global_store_sectors_ideal + counters.shared_load_wavefronts -
         counters.shared_load_wavefronts_ideal + counters.shared_store_wavefronts -
         counters.shared_store_wavefronts_ideal + counters.async_store_wavefronts -
         counters.async_store_wavefronts_ideal;
}

std::uint64_t work(const Counters& counters) {
  return counters.global_load_sectors + counters.global_store_sectors + counters.shared_load_wavefronts +
         counters.shared_store_wavefronts + counters.async_store_wavefronts;
}

bool is_empty(const Counters& counters) {
  return std::all_of(std::begin(kCounterNames), std::end(kCounterNames),
                     [&](const CounterName& entry) { return counters.*entry.member == 0; });
}

KernelProfile resolve(const KernelBook& book) {
  KernelProfile profile{.kernel = book.kernel,
                        .launches = book.launches,
                        .blocks = book.blocks,
                        .traced_blocks = book.traced_blocks,
                        .total = {},
                        .warps = book.warps,
                        .lines = {},
                        .events = {}};
  for (const Counters& warp : book.warps) profile.total += warp;

  std::vector<std::uintptr_t> addresses;
  for (const auto& [place, counters] : book.places) {
    if (std::get<0>(place) && !is_empty(counters)) addresses.push_back(std::get<0>(place));
  }
  for (const PlacedEvent& event : book.events) {
    if (event.pc) addresses.push_back(event.pc);
  }
  find_places(addresses);

  std::map<std::pair<std::string, int>, Counters> lines;
  for (const auto& [place, counters] : book.places) {
    if (is_empty(counters)) continue;
    const Place at = resolve(std::get<0>(place), {std::get<1>(place), std::get<2>(place)});
    lines[{at.file, at.line}] += counters;
  }
  for (const auto& [at, counters] : lines) {
    profile.lines.push_back({at.first, at.second, source_text(at.first, at.second), counters});
  }
  std::stable_sort(profile.lines.begin(), profile.lines.end(), [](const SourceLine& a, const SourceLine& b) {
    return std::pair(waste(a.counters), work(a.counters)) > std::pair(waste(b.counters), work(b.counters));
  });
  for (const PlacedEvent& event : book.events) {
    const Place at = resolve(event.pc, event.site);
    profile.events.push_back({event.kind, event.warp, at.file, at.line, event.begin, event.end});
  }
  return profile;
}

}  // namespace

// ---- Collecting ----

Counters& Counters::operator+=(const Counters& other) {
  for (const CounterName& entry : kCounterNames) {
    if (entry.member == &Counters::max_groups_in_flight) {
      max_groups_in_flight = std::max(max_groups_in_flight, other.max_groups_in_flight);
    } else {
      this->*entry.member += other.*entry.member;
    }
  }
  return *this;
}

std::vector<std::pair<const char*, std::uint64_t>> named_values(const Counters& counters) {
  std::vector<std::pair<const char*, std::uint64_t>> values;
  for (const CounterName& entry : kCounterNames) values.emplace_back(entry.name, counters.*entry.member);
  return values;
}

const char* name(EventKind kind) {
  switch (kind) {
    case EventKind::global_load:
      return "global_load";
    case EventKind::global_store:
      return "global_store";
    case EventKind::shared_load:
      return "shared_load";
    case EventKind::shared_store:
      return "shared_store";
    case EventKind::ldmatrix:
      return "ldmatrix";
    case EventKind::mma:
      return "mma";
    case EventKind::cp_async:
      return "cp_async";
    case EventKind::cp_async_commit_group:
      return "cp_async_commit_group";
    case EventKind::cp_async_wait_group:
      return "cp_async_wait_group";
    case EventKind::block_barrier:
      return "block_barrier";
    case EventKind::named_barrier:
      return "named_barrier";
    case EventKind::warp_barrier:
      return "warp_barrier";
    case EventKind::shuffle:
      return "shuffle";
    case EventKind::vote:
      return "vote";
    case EventKind::atomic:
      return "atomic";
    case EventKind::wgmma:
      return "wgmma";
    case EventKind::wgmma_wait_group:
      return "wgmma_wait_group";
    case EventKind::cp_async_bulk:
      return "cp_async_bulk";
    case EventKind::bulk_store:
      return "bulk_store";
    case EventKind::remote_store:
      return "remote_store";
    case EventKind::mbarrier_arrive:
      return "mbarrier_arrive";
    case EventKind::mbarrier_wait:
      return "mbarrier_wait";
  }
  return "?";
}

void begin_profiled_launch(const std::string& kernel, std::uint64_t blocks) {
  std::lock_guard lock(books().mutex);
  auto& kernels = books().kernels;
  auto found =
      std::find_if(kernels.begin(), kernels.end(), [&](auto& book) { return book->kernel == kernel; });
  if (found == kernels.end()) {
    kernels.push_back(std::make_unique<KernelBook>());
    kernels.back()->kernel = kernel;
    found = kernels.end() - 1;
  }
  books().current = found->get();
  books().current->launches += 1;
  books().current->blocks += blocks;
}

bool may_record_events() {
  std::lock_guard lock(books().mutex);
  if (!books().current || books().current->events_taken) return false;
  books().current->events_taken = true;
  return true;
}

void add_to_profile(const KernelCounts& counts) {
  std::lock_guard lock(books().mutex);
  KernelBook* book = books().current;
  if (!book) return;
  book->traced_blocks += counts.traced_blocks;
  if (book->warps.size() < counts.warps.size()) book->warps.resize(counts.warps.size());
  for (std::size_t i = 0; i < counts.warps.size(); ++i) book->warps[i] += counts.warps[i];
  for (const PlaceCounts& place : counts.places) {
    book->places[{place.pc, place.site.file, place.site.line}] += place.counters;
  }
  book->events.insert(book->events.end(), counts.events.begin(), counts.events.end());
}

Profile profile() {
  std::lock_guard lock(books().mutex);
  Profile profile;
  for (const auto& book : books().kernels) {
    profile.kernels.push_back(resolve(*book));
    profile.total += profile.kernels.back().total;
  }
  return profile;
}

void clear_profile() {
  std::lock_guard lock(books().mutex);
  books().kernels.clear();
  books().current = nullptr;
}

// ---- Showing ----

std::string profile_json(const Profile& profile) {
  using nlohmann::json;
  const auto to_json = [](const Counters& counters) {
    json object = json::object();
    for (const auto& [name, value] : named_values(counters)) {
      if (value) object[name] = value;
    }
    return object;
  };
  json kernels = json::array();
  for (const KernelProfile& kernel : profile.kernels) {
    json lines = json::array(), warps = json::array();
    for (const SourceLine& line : kernel.lines) {
      lines.push_back({{"file", short_path(line.file)},
                       {"line", line.line},
                       {"text", line.text},
                       {"counters", to_json(line.counters)}});
    }
    for (const Counters& warp : kernel.warps) warps.push_back(to_json(warp));
    kernels.push_back({{"kernel", kernel.kernel},
                       {"launches", kernel.launches},
                       {"blocks", kernel.blocks},
                       {"traced_blocks", kernel.traced_blocks},
                       {"total", to_json(kernel.total)},
                       {"warps", warps},
                       {"lines", lines}});
  }
  return json{{"kernels", kernels}, {"total", to_json(profile.total)}}.dump();
}

namespace {

// "12.4 k", "3.10 M"
std::string human(std::uint64_t value) {
  if (value < 10'000) return fmt::format("{}", value);
  if (value < 10'000'000) return fmt::format("{:.1f} k", double(value) / 1e3);
  if (value < 10'000'000'000) return fmt::format("{:.2f} M", double(value) / 1e6);
  return fmt::format("{:.2f} G", double(value) / 1e9);
}

// "4.20 per request, ideal 1.00": how far from coalesced, or from free of bank conflicts.
void print_traffic(std::ostream& out, const char* what, const char* unit, std::uint64_t requests,
                   std::uint64_t done, std::uint64_t ideal, std::uint64_t bytes) {
  if (requests == 0) return;
  out << fmt::format(
      "  {:<14} {:>10} requests {:>10} {:<10} {:5.2f} per request, ideal {:5.2f} (x{:.2f}) {:>10} bytes\n",
      what, human(requests), human(done), unit, double(done) / double(requests),
      double(ideal) / double(requests), double(done) / double(ideal), human(bytes));
}

void print_line(std::ostream& out, const SourceLine& line) {
  const Counters& c = line.counters;
  std::string facts;
  const auto add = [&](const char* what, const char* unit, std::uint64_t requests, std::uint64_t done,
                       std::uint64_t ideal) {
    if (requests == 0) return;
    facts += fmt::format("{}{} {} x {:.2f} {}", facts.empty() ? "" : ", ", what, human(requests),
                         double(done) / double(requests), unit);
    if (done > ideal) facts += fmt::format(" (ideal {:.2f})", double(ideal) / double(requests));
  };
  const auto add_count = [&](const char* what, std::uint64_t count) {
    if (count) facts += fmt::format("{}{} {}", facts.empty() ? "" : ", ", human(count), what);
  };
  add("global load", "sectors", c.global_load_requests, c.global_load_sectors, c.global_load_sectors_ideal);
  add("global store", "sectors", c.global_store_requests, c.global_store_sectors,
      c.global_store_sectors_ideal);
  add("shared load", "wavefronts", c.shared_load_requests, c.shared_load_wavefronts,
      c.shared_load_wavefronts_ideal);
  add("shared store", "wavefronts", c.shared_store_requests, c.shared_store_wavefronts,
      c.shared_store_wavefronts_ideal);
  add("cp.async", "wavefronts", c.cp_async, c.async_store_wavefronts, c.async_store_wavefronts_ideal);
  add_count("ldmatrix", c.ldmatrix);
  add_count("mma", c.mma);
  add_count("commits", c.cp_async_commits);
  add_count("waits", c.cp_async_waits);
  add_count("block barriers", c.block_barriers);
  add_count("named barriers", c.named_barriers);
  add_count("warp barriers", c.warp_barriers);
  add_count("shuffles", c.shuffles);
  add_count("votes", c.votes);
  add_count("atomics", c.atomic_requests);
  add_count("wgmma", c.wgmma);
  add_count("wgmma wavefronts", c.wgmma_wavefronts);
  add_count("bulk loads", c.bulk_loads);
  add_count("bulk load bytes", c.bulk_load_bytes);
  add_count("bulk stores", c.bulk_stores);
  add_count("bulk store bytes", c.bulk_store_bytes);
  add_count("stores to other blocks", c.remote_stores);
  add_count("mbarrier arrivals", c.mbarrier_arrivals);
  add_count("mbarrier waits", c.mbarrier_waits);
  out << fmt::format("  {}:{}  {}\n", short_path(line.file), line.line, facts);
  if (!line.text.empty()) out << "      " << line.text << '\n';
}

}  // namespace

void print_profile(std::ostream& out, const Profile& profile) {
  constexpr std::size_t kMaxLines = 20;
  for (const KernelProfile& kernel : profile.kernels) {
    const Counters& c = kernel.total;
    out << kernel.kernel << ": " << kernel.launches << (kernel.launches == 1 ? " launch, " : " launches, ")
        << kernel.blocks << " blocks";
    if (kernel.traced_blocks < kernel.blocks) out << ", counted in " << kernel.traced_blocks << " of them";
    out << '\n';
    print_traffic(out, "global loads", "sectors", c.global_load_requests, c.global_load_sectors,
                  c.global_load_sectors_ideal, c.global_load_bytes);
    print_traffic(out, "global stores", "sectors", c.global_store_requests, c.global_store_sectors,
                  c.global_store_sectors_ideal, c.global_store_bytes);
    print_traffic(out, "shared loads", "wavefronts", c.shared_load_requests, c.shared_load_wavefronts,
                  c.shared_load_wavefronts_ideal, c.shared_load_bytes);
    print_traffic(out, "shared stores", "wavefronts", c.shared_store_requests, c.shared_store_wavefronts,
                  c.shared_store_wavefronts_ideal, c.shared_store_bytes);
    print_traffic(out, "cp.async", "wavefronts", c.cp_async, c.async_store_wavefronts,
                  c.async_store_wavefronts_ideal, c.async_bytes);
    std::string counts;
    for (const auto& [name, value] : std::initializer_list<std::pair<const char*, std::uint64_t>>{
             {"ldmatrix", c.ldmatrix},
             {"mma", c.mma},
             {"block barriers", c.block_barriers},
             {"named barriers", c.named_barriers},
             {"warp barriers", c.warp_barriers},
             {"shuffles", c.shuffles},
             {"votes", c.votes},
             {"atomics", c.atomic_requests},
             {"wgmma", c.wgmma},
             {"wgmma wavefronts", c.wgmma_wavefronts},
             {"bulk loads", c.bulk_loads},
             {"bulk load bytes", c.bulk_load_bytes},
             {"bulk stores", c.bulk_stores},
             {"bulk store bytes", c.bulk_store_bytes},
             {"stores to other blocks", c.remote_stores},
             {"mbarrier waits", c.mbarrier_waits},
             {"cp.async groups in flight at most", c.max_groups_in_flight}}) {
      if (value) counts += fmt::format("{}{} {}", counts.empty() ? "  " : ", ", human(value), name);
    }
    if (!counts.empty()) out << counts << '\n';
    if (c.tensor_flop) {
      const std::uint64_t bytes = 32 * (c.global_load_sectors + c.global_store_sectors);
      out << fmt::format("  {} FLOP on tensor cores", human(c.tensor_flop));
      if (bytes)
        out << fmt::format(", {:.1f} per byte of global traffic", double(c.tensor_flop) / double(bytes));
      out << '\n';
    }
    out << "  Source lines, most waste first:\n";
    for (std::size_t i = 0; i < std::min(kMaxLines, kernel.lines.size()); ++i)
      print_line(out, kernel.lines[i]);
    if (kernel.lines.size() > kMaxLines)
      out << "  and " << kernel.lines.size() - kMaxLines << " more lines\n";
  }
  if (!profile.kernels.empty()) {
    out << "Counts are of the source as the CPU's compiler sees it; a GPU's merges and hoists some loads.\n";
  }
}

}  // namespace emulator
