#include "kernel_image.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>

namespace emulator {
namespace {

// Filled by the constructors of traced translation units while libraries are loaded, before main().
std::vector<std::uintptr_t>& traced_bases() {
  static auto* bases = new std::vector<std::uintptr_t>;
  return *bases;
}

std::string demangled(const std::string& mangled) {
  int status = 0;
  std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status),
                                              std::free);
  return status == 0 ? text.get() : mangled;
}

// "void attention::naive::kernel<64>(half const*, int)" -> "attention::naive::kernel<64>"
std::string without_signature(std::string name) {
  const std::string anonymous = "(anonymous namespace)::";
  for (std::size_t at; (at = name.find(anonymous)) != std::string::npos;) name.erase(at, anonymous.size());
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (depth > 0) continue;
    if (name[i] == ' ') begin = i + 1;
    if (name[i] == '(' && name.compare(i, 2, "()") != 0) return name.substr(begin, i - begin);
    if (name.compare(i, 2, "()") == 0) return name.substr(begin, i - begin);
  }
  return name.substr(begin);
}

// Where a loaded object begins, which is what dladdr() calls its base.
std::uintptr_t base_of(const dl_phdr_info& info) {
  std::uintptr_t lowest = ~std::uintptr_t(0);
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info.dlpi_phdr[i];
    if (header.p_type == PT_LOAD) lowest = std::min<std::uintptr_t>(lowest, info.dlpi_addr + header.p_vaddr);
  }
  return lowest & ~std::uintptr_t(4095);
}

}  // namespace

// Every translation unit that was compiled with -fsanitize=thread calls this from a constructor.
extern "C" __attribute__((visibility("default"))) void __tsan_init() {
  Dl_info info;
  if (dladdr(__builtin_return_address(0), &info)) {
    traced_bases().push_back(reinterpret_cast<std::uintptr_t>(info.dli_fbase));
  }
}

bool any_image_traced() {
  return !traced_bases().empty();
}

std::vector<std::string> plain_kernel_libraries(const std::string& folder) {
  struct Search {
    std::filesystem::path folder;
    std::uintptr_t own_base;
    std::vector<std::string> found;
  } search;
  Dl_info own = {};
  dladdr(reinterpret_cast<const void*>(&plain_kernel_libraries), &own);
  search.folder = folder;
  search.own_base = reinterpret_cast<std::uintptr_t>(own.dli_fbase);
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& search = *static_cast<Search*>(data);
        const std::uintptr_t base = base_of(*info);
        const auto& traced = traced_bases();
        if (base == search.own_base || std::find(traced.begin(), traced.end(), base) != traced.end())
          return 0;
        const std::string name = std::filesystem::path(info->dlpi_name).filename().string();
        std::error_code ignored;
        const bool is_ours = !name.empty() && std::filesystem::exists(search.folder / name, ignored);
        if (is_ours) search.found.push_back(name);
        return 0;
      },
      &search);
  return search.found;
}

const KernelImage& KernelImage::of(const void* address) {
  static std::mutex mutex;
  static auto* images = new std::map<std::uintptr_t, std::unique_ptr<KernelImage>>;
  Dl_info info = {};
  dladdr(address, &info);
  std::lock_guard lock(mutex);
  std::unique_ptr<KernelImage>& image = (*images)[reinterpret_cast<std::uintptr_t>(info.dli_fbase)];
  if (!image) image.reset(new KernelImage(address));
  return *image;
}

KernelImage::KernelImage(const void* address) {
  Dl_info info = {};
  if (!dladdr(address, &info)) return;
  base_ = reinterpret_cast<std::uintptr_t>(info.dli_fbase);
  path_ = info.dli_fname;
  const auto& traced = traced_bases();
  traced_ = std::find(traced.begin(), traced.end(), base_) != traced.end();
  read_symbols();
}

void KernelImage::read_symbols() {
  std::ifstream file(path_, std::ios::binary);
  if (!file) file.open("/proc/self/exe", std::ios::binary);
  const auto read = [&](void* to, std::size_t bytes, std::size_t at) {
    file.seekg(std::streamoff(at));
    return bool(file.read(static_cast<char*>(to), std::streamsize(bytes)));
  };
  Elf64_Ehdr header;
  if (!read(&header, sizeof(header), 0)) return;
  std::vector<Elf64_Shdr> sections(header.e_shnum);
  if (!read(sections.data(), sections.size() * sizeof(Elf64_Shdr), header.e_shoff)) return;
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_SYMTAB) continue;
    std::vector<Elf64_Sym> symbols(section.sh_size / sizeof(Elf64_Sym));
    std::vector<char> names(sections[section.sh_link].sh_size + 1);
    if (!read(symbols.data(), section.sh_size, section.sh_offset)) return;
    if (!read(names.data(), names.size() - 1, sections[section.sh_link].sh_offset)) return;
    for (const Elf64_Sym& symbol : symbols) {
      if (symbol.st_shndx == SHN_UNDEF) continue;
      const std::string mangled = &names[symbol.st_name];
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC) functions_.push_back({symbol.st_value, mangled});
      if (ELF64_ST_TYPE(symbol.st_info) != STT_TLS) continue;
      if (mangled.compare(0, 4, "_ZGV") == 0) continue;  // a guard variable
      if (symbol.st_size == 0) continue;                 // aarch64 marks where data begins
      // "void kernel<4>(float*)::tile" -> "tile"
      const std::string name = demangled(mangled);
      const std::size_t scope = name.rfind("::");
      variables_.push_back({symbol.st_value, symbol.st_size,
                            scope == std::string::npos ? name : name.substr(scope + 2), mangled});
    }
  }
  std::sort(variables_.begin(), variables_.end(), [](auto& a, auto& b) { return a.offset < b.offset; });
  std::sort(functions_.begin(), functions_.end(), [](auto& a, auto& b) { return a.offset < b.offset; });
}

const SharedVariable* KernelImage::variable_at(std::size_t offset) const {
  auto after =
      std::upper_bound(variables_.begin(), variables_.end(), offset,
                       [](std::size_t at, const SharedVariable& variable) { return at < variable.offset; });
  if (after == variables_.begin()) return nullptr;
  --after;
  return offset < after->offset + after->bytes ? &*after : nullptr;
}

std::string KernelImage::name_of(const void* function) const {
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(function) - base_;
  for (const Function& candidate : functions_) {
    if (candidate.offset == offset) return without_signature(demangled(candidate.mangled));
  }
  return "kernel";
}

std::size_t KernelImage::static_smem_bytes(const void* kernel) const {
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(kernel) - base_;
  std::size_t bytes = 0;
  for (const Function& function : functions_) {
    if (function.offset != offset || function.mangled.compare(0, 2, "_Z") != 0) continue;
    // A variable of function _Zxyz is _ZZxyzE<name>.
    const std::string prefix = "_ZZ" + function.mangled.substr(2) + "E";
    for (const SharedVariable& variable : variables_) {
      if (variable.mangled.compare(0, prefix.size(), prefix) == 0) bytes += variable.bytes;
    }
    break;
  }
  return bytes;
}

KernelImage::Segment KernelImage::segment() const {
  struct Search {
    std::uintptr_t base;
    Segment found;
  } search{base_, {nullptr, nullptr}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& search = *static_cast<Search*>(data);
        const ElfW(Phdr)* tls = nullptr;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = info->dlpi_phdr[i];
          if (header.p_type == PT_TLS) tls = &header;
        }
        if (base_of(*info) != search.base) return 0;
        if (tls && info->dlpi_tls_data) {
          char* begin = static_cast<char*>(info->dlpi_tls_data);
          search.found = {begin, begin + tls->p_memsz};
        }
        return 1;
      },
      &search);
  return search.found;
}

}  // namespace emulator
