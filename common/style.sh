#!/bin/sh
# Checks the style of all sources with tools from Debian.
set -eu
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: common/style.sh [--fix]

Runs clang-format over C++ and CUDA, clang-tidy over the host's C++ (the checks in .clang-tidy), shellcheck over
shell scripts and flake8 over Python. Prints a line per tool, and the findings where there are any.

--fix formats C++ and CUDA with clang-format and checks nothing.

Exit codes: 0 nothing found, 1 findings, 2 a tool is missing.
TEXT
}

die() { printf 'error: %s\n' "$1" >&2; exit 2; }

fix=no
case ${1-} in
  -h | --help) usage; exit 0 ;;
  --fix) fix=yes ;;
  '') ;;
  *) die "no option is named '$1'; see common/style.sh --help" ;;
esac

# Versions that both Debian 12 and Ubuntu 24.04 have, because others format and find otherwise: clang-format 14, which is
# Debian 12's own, and clang-tidy 16, the first that knows our C++20.
missing=
command -v clang-format-14 >/dev/null || missing="$missing clang-format-14"
command -v clang-tidy-16 >/dev/null || missing="$missing clang-tidy-16"
command -v shellcheck >/dev/null || missing="$missing shellcheck"
/usr/bin/python3 -c 'import flake8' 2>/dev/null || missing="$missing flake8"
[ -z "$missing" ] || die "Debian packages are missing: apt-get install$missing"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  git ls-files --cached --others --exclude-standard
else
  find . -type f ! -path './build/*' ! -path './.git/*' | sed 's|^\./||'
fi | while IFS= read -r file; do [ ! -f "$file" ] || printf '%s\n' "$file"; done | sort -u >"$scratch/all"
grep -E '\.(cpp|hpp|cu|cuh)$' "$scratch/all" >"$scratch/c++"
grep -E '\.py$' "$scratch/all" >"$scratch/python"
# Scripts by name, and those that only their first line shows.
xargs -d '\n' awk 'FNR == 1 && (FILENAME ~ /\.sh$/ || /^#!\/bin\/sh/) { print FILENAME } { nextfile }' \
  <"$scratch/all" >"$scratch/shell"

if [ $fix = yes ]; then
  xargs -d '\n' clang-format-14 -i <"$scratch/c++"
  echo "clang-format: $(wc -l <"$scratch/c++") files are formatted"
  exit 0
fi

# check LIST TOOL OPTION...: xargs runs TOOL on the files that LIST names. OPTION may begin with options of xargs.
status=0
check() {
  list=$scratch/$1 tool=$2
  shift 2
  if xargs -d '\n' "$@" <"$list" >"$scratch/findings" 2>&1; then
    echo "$tool: $(wc -l <"$list") files, nothing found"
  else
    grep -vE '^[0-9]+ (warnings|errors)? .*generated\.$' "$scratch/findings" || true
    echo "$tool: $(wc -l <"$list") files, findings above"
    status=1
  fi
}

check c++ clang-format clang-format-14 --dry-run -Werror
check shell shellcheck shellcheck --shell=sh --severity=warning
check python flake8 /usr/bin/python3 -m flake8

# clang-tidy takes the compiler's options from the emulated build, which need only be configured. We give it each file once,
# although tests are compiled for every stage, and without an option that only gcc has.
[ -f build/emulated/compile_commands.json ] || cmake --preset emulated >"$scratch/log" 2>&1 ||
  { cat "$scratch/log" >&2; die "build/emulated cannot be configured, which clang-tidy needs"; }
python3 - "$scratch" <<'PYTHON'
import json
import os
import shlex
import sys

known = set(open(sys.argv[1] + "/c++").read().split("\n"))
entries = {}
for entry in json.load(open("build/emulated/compile_commands.json")):
    file = os.path.relpath(entry["file"])
    if file not in known or not file.endswith(".cpp") or file in entries:
        continue
    arguments = shlex.split(entry["command"])
    if os.path.basename(arguments[0]) == "ccache":
        del arguments[0]
    arguments = [argument for argument in arguments if argument != "-fno-extern-tls-init"]
    entries[file] = {"directory": entry["directory"], "file": entry["file"], "arguments": arguments}
json.dump(list(entries.values()), open(sys.argv[1] + "/compile_commands.json", "w"))
print("\n".join(entries), file=open(sys.argv[1] + "/host", "w"))
PYTHON
check host clang-tidy -P "$(nproc)" -n 1 clang-tidy-16 --quiet -p "$scratch"
exit $status
