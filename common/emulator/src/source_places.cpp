#include "source_places.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <unordered_map>

namespace emulator {
namespace {

std::mutex mutex;
std::unordered_map<std::uintptr_t, Place>& known_places() {
  static auto* places = new std::unordered_map<std::uintptr_t, Place>;
  return *places;
}

bool is_our_header(const std::string& file) {
  return file.find("/common/emulator/") != std::string::npos ||
         file.find("/attention/ptx.cuh") != std::string::npos ||
         file.find("/usr/include/") != std::string::npos || file.find("/usr/lib/") != std::string::npos;
}

// Reads addr2line's answer for one object file: "0xADDRESS" and then "file:line" for each inlined
// frame, innermost first.
void ask_addr2line(const std::string& object,
                   const std::map<std::uintptr_t, std::uintptr_t>& address_in_object) {
  std::string command = fmt::format("addr2line -a -i -e '{}'", object);
  std::unordered_map<std::uintptr_t, std::uintptr_t> return_address_of;
  for (const auto& [return_address, offset] : address_in_object) {
    // One byte back from the return address is inside the call.
    command += fmt::format(" {:#x}", offset - 1);
    return_address_of[offset - 1] = return_address;
  }
  command += " 2>/dev/null";
  FILE* answer = popen(command.c_str(), "r");
  if (!answer) return;
  char line[4096];
  Place* place = nullptr;
  bool settled = false;
  while (std::fgets(line, sizeof(line), answer)) {
    std::string frame(line);
    frame.erase(frame.find_last_not_of(" \n") + 1);
    if (frame.compare(0, 2, "0x") == 0) {
      place = &known_places()[return_address_of[std::strtoull(frame.c_str(), nullptr, 16)]];
      settled = false;
      continue;
    }
    const std::size_t colon = frame.rfind(':');
    if (!place || settled || colon == std::string::npos) continue;
    const std::string file = frame.substr(0, colon);
    if (file == "??") continue;
    *place = {std::filesystem::path(file).lexically_normal().string(), std::atoi(frame.c_str() + colon + 1)};
    settled = !is_our_header(place->file);
  }
  pclose(answer);
}

}  // namespace

void find_places(const std::vector<std::uintptr_t>& return_addresses) {
  std::lock_guard lock(mutex);
  std::map<std::string, std::map<std::uintptr_t, std::uintptr_t>>
      unknown;  // object -> return address -> offset
  for (const std::uintptr_t address : return_addresses) {
    if (known_places().count(address)) continue;
    known_places()[address] = {};
    Dl_info info;
    if (!dladdr(reinterpret_cast<void*>(address), &info) || !info.dli_fname) continue;
    // A program that is not position-independent is linked at its addresses; libraries and others are not.
    const auto base = reinterpret_cast<std::uintptr_t>(info.dli_fbase);
    std::string object = info.dli_fname;
    if (!std::filesystem::exists(object)) object = fmt::format("/proc/{}/exe", getpid());
    unknown[object][address] = address - base;
  }
  for (const auto& [object, addresses] : unknown) ask_addr2line(object, addresses);
}

Place place_of(std::uintptr_t return_address) {
  find_places({return_address});
  std::lock_guard lock(mutex);
  return known_places()[return_address];
}

std::string short_path(const std::string& path) {
  std::error_code ignored;
  const std::string relative =
      std::filesystem::path(path).lexically_proximate(std::filesystem::current_path(ignored));
  return relative.compare(0, 2, "..") == 0 ? path : relative;
}

std::string source_text(const std::string& file, int line) {
  static auto* files = new std::map<std::string, std::vector<std::string>>;
  std::lock_guard lock(mutex);
  auto [entry, is_new] = files->try_emplace(file);
  if (is_new) {
    std::ifstream in(file);
    for (std::string text; std::getline(in, text);) entry->second.push_back(text);
  }
  if (line < 1 || std::size_t(line) > entry->second.size()) return "";
  const std::string& text = entry->second[line - 1];
  const std::size_t first = text.find_first_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first);
}

}  // namespace emulator
