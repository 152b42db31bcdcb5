#include "report.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <mutex>
#include <set>
#include <tuple>

#include "source_places.hpp"

namespace emulator {
namespace {

struct Log {
  std::mutex mutex;
  std::string kernel;
  std::vector<Finding> unpublished;
  std::set<std::tuple<ReportKind, const char*, int, std::uintptr_t>> known_places;  // before symbolising
  std::set<std::tuple<ReportKind, std::string, int>> known_lines;                   // after it
  std::vector<Report> reports;
};

// Never destroyed: static objects of the program may still free device memory after this library's are gone.
Log& findings_log() {
  static Log* log = new Log;
  return *log;
}

}  // namespace

const char* name(ReportKind kind) {
  switch (kind) {
    case ReportKind::shared_race:
      return "race on shared memory";
    case ReportKind::global_race:
      return "race on global memory";
    case ReportKind::in_flight_access:
      return "copy in flight";
    case ReportKind::wait_never_made:
      return "never waited for";
    case ReportKind::uninitialized_shared:
      return "uninitialised shared memory";
    case ReportKind::out_of_bounds:
      return "out of bounds";
    case ReportKind::use_after_free:
      return "use after free";
    case ReportKind::double_free:
      return "double free";
    case ReportKind::misaligned:
      return "misaligned access";
    case ReportKind::divergent_barrier:
      return "divergent barrier";
    case ReportKind::deadlock:
      return "deadlock";
    case ReportKind::exited_at_barrier:
      return "exited threads at a barrier";
    case ReportKind::launch_not_waited:
      return "previous launch not waited for";
    case ReportKind::missing_fence:
      return "missing fence";
    case ReportKind::bad_mbarrier:
      return "misused mbarrier";
    case ReportKind::bad_registers:
      return "misused setmaxnreg";
    case ReportKind::bad_mask:
      return "bad mask";
    case ReportKind::stack_overflow:
      return "stack overflow";
    case ReportKind::trap:
      return "trap";
    case ReportKind::fault:
      return "fault";
  }
  return "?";
}

void set_reported_kernel(const char* kernel) {
  Log& log = findings_log();
  std::lock_guard lock(log.mutex);
  log.kernel = kernel ? kernel : "";
}

void report(Finding finding) {
  Log& log = findings_log();
  std::lock_guard lock(log.mutex);
  if (!log.known_places.insert({finding.kind, finding.site.file, finding.site.line, finding.pc}).second)
    return;
  log.unpublished.push_back(std::move(finding));
}

void publish_findings() {
  Log& log = findings_log();
  std::lock_guard lock(log.mutex);
  if (log.unpublished.empty()) return;

  std::vector<std::uintptr_t> addresses;
  for (const Finding& finding : log.unpublished) {
    if (!finding.site.file && finding.pc) addresses.push_back(finding.pc);
    if (finding.other_pc) addresses.push_back(finding.other_pc);
  }
  find_places(addresses);

  for (Finding& finding : log.unpublished) {
    Report report{.kind = finding.kind,
                  .file = {},
                  .line = 0,
                  .message = std::move(finding.message),
                  .threads = std::move(finding.threads),
                  .variable = std::move(finding.variable),
                  .kernel = log.kernel,
                  .other_file = {},
                  .other_line = 0};
    if (finding.site.file) {
      report.file = finding.site.file;
      report.line = finding.site.line;
    } else if (finding.pc) {
      const Place place = place_of(finding.pc);
      report.file = place.file;
      report.line = place.line;
    }
    if (finding.other_pc) {
      const Place place = place_of(finding.other_pc);
      report.other_file = place.file;
      report.other_line = place.line;
    }
    if (!log.known_lines.insert({report.kind, report.file, report.line}).second) continue;

    const std::string where =
        report.file.empty() ? "" : fmt::format("{}:{}: ", short_path(report.file), report.line);
    const std::string other =
        report.other_file.empty()
            ? ""
            : fmt::format(" (the other at {}:{})", short_path(report.other_file), report.other_line);
    const std::string kernel = report.kernel.empty() ? "" : " in " + report.kernel;
    fmt::print(stderr, "{}{}: {}{}{}\n", where, name(report.kind), report.message, other, kernel);
    log.reports.push_back(std::move(report));
  }
  log.unpublished.clear();
}

std::vector<Report> reports() {
  publish_findings();
  Log& log = findings_log();
  std::lock_guard lock(log.mutex);
  return log.reports;
}

std::size_t report_count() {
  return reports().size();
}

void clear_reports() {
  Log& log = findings_log();
  std::lock_guard lock(log.mutex);
  log.unpublished.clear();
  log.known_places.clear();
  log.known_lines.clear();
  log.reports.clear();
}

}  // namespace emulator
