#!/bin/sh
# diffs.sh STAGES FOLDER: writes FOLDER/<stage>_<variant>.diff for every variant but the first of its stage, the diff of
# its file with that of the variant before. STAGES has a line for each stage: its name and its variants, in order. Runs
# in the root of the repository.
set -eu
while read -r stage variants; do
  before=
  for variant in $variants; do
    file=stages/$stage/$variant.cu
    if [ -n "$before" ]; then
      # diff exits 1 where files differ.
      diff -u --label "$before" --label "$file" "$before" "$file" >"$2/${stage}_$variant.diff" || [ $? -eq 1 ]
    fi
    before=$file
  done
done <"$1"
