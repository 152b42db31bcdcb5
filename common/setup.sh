# Sourced by ./run and ./test: finds what the build needs and installs what is missing. POSIX sh.
# Where everything is there, nothing is installed and no network is touched.

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $1"; exit "${2:-2}"; }

# can_include HEADER...: does the compiler find one of these headers?
can_include() {
  for header in "$@"; do
    printf '#if !__has_include(<%s>)\n#error missing\n#endif\n' "$header" |
      "${CXX:-g++}" -E -x c++ -std=c++20 - >/dev/null 2>&1 && return 0
  done
  return 1
}

# missing_packages: Debian's names of what is not there yet.
missing_packages() {
  command -v "${CXX:-g++}" >/dev/null || echo g++
  command -v cmake >/dev/null || echo cmake
  command -v ninja >/dev/null || echo ninja-build
  # Before there is a compiler, every header counts as missing; all of them are wanted then.
  can_include CLI/CLI.hpp || echo libcli11-dev
  can_include nlohmann/json.hpp || echo nlohmann-json3-dev
  can_include fmt/format.h || echo libfmt-dev
  can_include catch2/catch.hpp catch2/catch_all.hpp || echo catch2
  can_include boost/context/detail/fcontext.hpp || echo libboost-context-dev
  can_include benchmark/benchmark.h || echo libbenchmark-dev
  [ -f /usr/share/javascript/chart.js/chart.min.js ] || echo libjs-chart.js
  command -v gnuplot >/dev/null || echo gnuplot-nox
  command -v python3 >/dev/null || echo python3
}

# missing_book_packages: what the book needs besides.
missing_book_packages() {
  command -v doxygen >/dev/null || echo doxygen
  [ -e /usr/share/javascript/katex/katex.min.js ] || echo libjs-katex
}

install_missing() { install_packages $(missing_packages); }

# install_packages NAME...: Debian packages; nothing where none is named.
install_packages() {
  [ $# -gt 0 ] || return 0
  packages=$*
  command -v apt-get >/dev/null || die "these Debian packages are missing and there is no apt-get: $packages"
  as_root=
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing; install them as root: apt-get install $packages"
    as_root=sudo
  fi
  say "installing with apt-get: $packages"
  log=$(mktemp)
  if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive \
         apt-get install -y --no-install-recommends $packages; } >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    die "apt-get could not install: $packages"
  fi
  rm -f "$log"
}

gpu_answers() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU '; }

# build PRESET TARGET...: configures and builds, quietly unless it fails or somebody watches.
build() {
  preset=$1
  shift
  mkdir -p "build/$preset"
  log=build/$preset/build.log
  say "building build/$preset ($*) ..."
  if [ -t 2 ]; then
    { cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; false; }; } &&
      cmake --build --preset "$preset" --target "$@" >&2
  else
    { cmake --preset "$preset" && cmake --build --preset "$preset" --target "$@"; } >"$log" 2>&1 ||
      { tail -n 60 "$log" >&2; false; }
  fi || die "build/$preset does not build; the log is above" 1
}

# check_stages NAME...: each must be a folder of stages/.
check_stages() {
  for stage in "$@"; do
    [ -f "stages/$stage/kernel.cu" ] || die "no stage is named '$stage'; there is $(ls stages | tr '\n' ' ')"
  done
}
