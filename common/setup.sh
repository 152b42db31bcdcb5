# shellcheck shell=sh
# Sourced by ./run and ./test: finds what the build needs and installs what is missing. POSIX sh.
# Where everything is there, nothing is installed and no network is touched.

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $1"; exit "${2:-2}"; }

# can_include HEADER...: does the compiler find one of these headers?
can_include() {
  for header in "$@"; do
    printf '#if !__has_include(<%s>)\n#error missing\n#endif\n' "$header" |
      ${CXX:-g++} -E -x c++ -std=c++20 - >/dev/null 2>&1 && return 0
  done
  return 1
}

# missing_packages: Debian's names of what is not there yet.
missing_packages() {
  command -v ${CXX:-g++} >/dev/null || echo g++
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

# missing_style_packages: what ./test --style needs besides.
missing_style_packages() {
  for tool in clang-format-14 clang-tidy-16 shellcheck; do
    command -v $tool >/dev/null || echo $tool
  done
  /usr/bin/python3 -c 'import flake8' 2>/dev/null || echo python3-flake8
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

# one_at_a_time: waits for another ./run or ./test in this folder, since two builds in one would break each other.
# A script that one of these runs (the tests run the book's commands) does not wait for its own parent.
one_at_a_time() {
  [ -z "${ATTENTION_BUILD_LOCKED-}" ] || return 0
  { mkdir -p build 2>/dev/null && [ -w build ]; } ||
    die "cannot write to $PWD/build: it belongs to another user; remove it, or work in a copy of your own"
  export ATTENTION_BUILD_LOCKED=$$
  command -v flock >/dev/null || return 0
  exec 9>>build/lock
  if ! flock -n 9; then
    say "waiting for another ./run or ./test in this folder (process $(tail -n 1 build/lock)) ..."
    flock 9
  fi
  echo $$ >build/lock
}

# build PRESET TARGET...: configures and builds, quietly unless it fails, with a line that counts what is done.
build() {
  preset=$1
  shift
  mkdir -p "build/$preset"
  log=build/$preset/build.log
  cache=build/$preset/CMakeCache.txt
  if [ -f "$cache" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$cache"; then
    die "build/$preset was made in another folder; remove it: rm -r build/$preset"
  fi
  say "building build/$preset ($*) ..."
  # Ninja configures again by itself where a CMakeLists.txt has changed, but does not know of the presets.
  if [ ! -f "build/$preset/build.ninja" ] || [ -n "$(find CMakePresets.json -newer "build/$preset/build.ninja")" ]; then
    if ! cmake --preset "$preset" >"$log" 2>&1; then
      tail -n 40 "$log" >&2
      die "build/$preset cannot be configured; the log is above" 1
    fi
  fi
  # In the background and a process group of its own, so that a signal is answered at once and ends all of it.
  setsid cmake --build --preset "$preset" --target "$@" >"$log" 2>&1 9>&- &
  builder=$!
  trap 'kill -- -$builder 2>/dev/null; [ ! -t 2 ] || echo >&2; die "interrupted" 130' INT TERM
  shown=
  tenths=0
  while kill -0 $builder 2>/dev/null; do
    sleep 0.2
    tenths=$((tenths + 2))
    done_of_all=$(sed -n 's|^\[\([0-9]*\)/\([0-9]*\)\].*|\1 of \2|p' "$log" | tail -n 1)
    [ "$done_of_all" != "$shown" ] || continue
    if [ -t 2 ]; then printf '\r  %s steps ' "$done_of_all" >&2
    elif [ $((tenths % 100)) -eq 0 ]; then say "  $done_of_all steps"
    else continue; fi
    shown=$done_of_all
  done
  [ ! -t 2 ] || printf '\r\033[K' >&2
  built=0
  wait $builder || built=$?
  trap - INT TERM
  if [ $built -ne 0 ]; then
    grep -v '^\[[0-9]*/[0-9]*\] ' "$log" | tail -n 60 >&2
    die "build/$preset does not build; the log is above, all of it in $log" 1
  fi
}

# check_stages NAME...: each must be a folder of stages/.
check_stages() {
  for stage in "$@"; do
    [ -f "stages/$stage/stage.cpp" ] || die "no stage is named '$stage'; there is $(ls stages | tr '\n' ' ')"
  done
}

# check_variant NAME STAGE...: one of the stages must have it, in a file of that name.
check_variant() {
  variant=$1
  shift
  [ "$variant" != all ] || return 0
  for stage in "$@"; do
    if [ -f "stages/$stage/$variant.cu" ] || [ -f "stages/$stage/$variant.cpp" ]; then return 0; fi
  done
  die "no variant is named '$variant'; there is $(for stage in "$@"; do ls "stages/$stage"; done | sed -n 's/\.cu$//p' | tr '\n' ' ')all"
}
