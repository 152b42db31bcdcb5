#!/bin/sh
# On a machine with a GPU: builds for it alone, runs every test, runs every variant of every stage under
# compute-sanitizer on small ragged shapes, and times the ladder. Logs and results go to a folder.
# usage: docs/scripts/check_gpu.sh [FOLDER]     exit code 0 only if all of it is clean
set -u
cd "$(dirname "$0")/../.." || exit 2
. common/setup.sh
out=${1:-build/check_gpu}
mkdir -p "$out"
gpu_answers || die "no GPU answers" 3
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
[ "$capability" = 90 ] && capability=90a  # with wgmma
status=0

say "building for sm_$capability ..."
if ! { cmake --preset gpu -DCMAKE_CUDA_ARCHITECTURES="$capability-real" && cmake --build --preset gpu; } \
  >"$out/build.log" 2>&1
then
  tail -n 40 "$out/build.log" >&2
  die "the build failed" 1
fi

ctest --preset gpu -j 4 --output-log "$out/ctest.log" >/dev/null || status=1
tail -n 25 "$out/ctest.log"

for folder in stages/*/; do
  stage=$(basename "$folder")
  for tool in memcheck racecheck synccheck initcheck; do
    for shape in "--seq-q 65 --seq-kv 129 --heads 2 --kv-heads 1 --causal" \
                 "--seq-q 17 --seq-kv 257 --heads 1 --head-dim 128"; do
      log=$out/$stage.$tool.log
      # shellcheck disable=SC2086  # several arguments in one variable
      if compute-sanitizer --tool "$tool" --error-exitcode 9 build/gpu/bin/"$stage" --no-time $shape >>"$log" 2>&1
      then verdict=clean; else verdict="NOT CLEAN (see $log)"; status=1; fi
      echo "$stage $tool $shape: $verdict"
    done
  done
done

build/gpu/bin/ladder --json "$out/ladder.json" || status=1
exit $status
