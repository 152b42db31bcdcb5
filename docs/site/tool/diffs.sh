#!/bin/sh
# diffs.sh STAGES FOLDER: writes FOLDER/<stage>_<variant>.diff for every variant but the first of its stage: the diff that
# the first lines of its file name, `diff -u stages/X/before.cu stages/X/this.cu`, or where they name none, the one from
# the variant before. STAGES has a line for each stage: its name and its variants, in order. Runs in the root of the
# repository.
set -eu
while read -r stage variants; do
  before=
  for variant in $variants; do
    file=stages/$stage/$variant.cu
    if [ -n "$before" ]; then
      from=$(sed -n "1,30s|.*diff -u \(stages/[^ ]*\) $file\$|\1|p" "$file")
      from=${from:-$before}
      # diff exits 1 where files differ.
      diff -u --label "$from" --label "$file" "$from" "$file" >"$2/${stage}_$variant.diff" || [ $? -eq 1 ]
    fi
    before=$file
  done
done <"$1"
