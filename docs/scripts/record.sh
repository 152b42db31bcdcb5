#!/bin/sh
# Measures everything on the GPU of this machine and writes <gpu>.json, the results that tables and charts are made from.
set -eu
cd "$(dirname "$0")/../.."

usage() {
  cat <<'TEXT'
usage: docs/scripts/record.sh [FOLDER]

Builds the preset gpu-libraries, or gpu where there is no PyTorch, runs its benchmark (about five minutes on an H200) and
writes FOLDER/<gpu>.json, and the times that 08_any_shape chooses by to FOLDER/survey/<gpu>.json; FOLDER is docs/results
unless given. After it, `report --update` and `python3 common/tools evidence report --update` refresh the tables.

Where the sources are not a git checkout, ATTENTION_COMMIT says which commit they are. Other arguments of bench can be
given in ATTENTION_BENCH_ARGS.
TEXT
}

die() { printf 'error: %s\n' "$1" >&2; exit "$2"; }

case ${1-} in
  -h | --help) usage; exit 0 ;;
  -*) die "no option is named '$1'; see docs/scripts/record.sh --help" 2 ;;
esac
folder=${1:-docs/results}
mkdir -p "$folder" || die "cannot make the folder $folder" 2
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || gpu=
[ -n "$gpu" ] || die "no GPU answers (nvidia-smi lists none)" 3
name=$(printf '%s' "$gpu" | tr '[:upper:]' '[:lower:]' | tr -cs '[:lower:][:digit:]' '_')

commit=${ATTENTION_COMMIT:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
dirty=
if [ -z "${ATTENTION_COMMIT-}" ] && [ -n "$(git status --porcelain 2>/dev/null)" ]; then dirty=--dirty; fi

preset=gpu program=bench
if python3 -c 'import torch; assert torch.version.cuda' 2>/dev/null; then preset=gpu-libraries program=bench_libraries; fi
# Only for the chip at hand: half a minute instead of two.
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
[ "$capability" = 90 ] && capability=90a
cmake --preset $preset -DCMAKE_CUDA_ARCHITECTURES="$capability-real" >/dev/null
cmake --build --preset $preset --target $program

# measure FILE ARGUMENT...: exit code 1 of bench means that some result was wrong; the file then says which, and the rest
# is good.
status=0
measure() {
  file=$1
  shift
  mkdir -p "$(dirname "$file")"
  measured=0
  build/$preset/bin/$program --commit="$commit" $dirty "$@" \
    --benchmark_out="$file.partial" --benchmark_out_format=json || measured=$?
  [ $measured -le 1 ] || die "$program failed; $file was not written" $measured
  mv "$file.partial" "$file"
  [ $measured = 0 ] || status=1
  echo "recorded $file"
}
# Only what may be chosen (stages/08_any_shape/choice.cpp), and the choice.
measure "$folder/survey/$name.json" --survey --largest-call-ms=2 \
  --benchmark_filter='/(wide_stores|two_row_tiles|split_keys|key_split|pdl|lazy_max|intra_overlap|persistent|split_kv|chosen)/'
# shellcheck disable=SC2086  # several arguments in one variable
measure "$folder/$name.json" ${ATTENTION_BENCH_ARGS-}
exit $status
