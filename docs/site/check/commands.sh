#!/bin/sh
# commands.sh SOURCE_FOLDER BUILD_FOLDER: runs the commands that the book prints, in reading order, from the root of the
# repository, as a reader would. Above each block of commands in book/*.md stands what is to become of it:
#   <!-- run -->          run; every command must exit 0
#   <!-- run exit=N -->   run; every command must exit N
#   <!-- exercise -->     run; exits 1, or 0 where the reader has solved it
#   <!-- ci -->           not run here: a part of ./test, which calls this script
#   <!-- gpu -->          not run here: needs a GPU
# ./run and ./test build in build/emulated, so where BUILD_FOLDER is another, nothing is run.
set -eu
cd "$1"
build=$2
if [ "$build" != "$PWD/build/emulated" ]; then
  echo "skipped: the book's commands build build/emulated, not $build"
  exit 77
fi
log=$build/book/commands.log
mkdir -p "$build/book"
status=0 ran=0 left=0

# Pages in reading order: the file that has the id of each page of contents.txt.
ids=$(sed -n 's/^ \{1,\}\([a-z_0-9]*\).*/\1/p' book/contents.txt)
files=
for id in $ids; do
  [ "$id" != index ] || id=mainpage
  files="$files $(grep -l "^# .*{#$id}" book/*.md || true)"
done

# A line for each command: "KIND EXIT FILE:LINE COMMAND".
# shellcheck disable=SC2086  # several files in one variable
commands=$(awk '
  /^<!-- (run|exercise|ci|gpu)( exit=[0-9]+)? -->$/ { kind = $2; code = 0; if ($3 ~ /^exit=/) code = substr($3, 6); marked = FNR; next }
  /^```sh/ { inside = 1; if (marked != FNR - 1) print "unmarked 0 " FILENAME ":" FNR " -"; next }
  /^```/ { inside = 0; next }
  inside && NF && !/^#/ { sub(/ +#.*/, ""); print kind, code, FILENAME ":" FNR, $0 }
' $files)

while read -r kind code place command; do
  case $kind in
    unmarked)
      echo "$place: commands without a mark that says whether to run them"
      status=1
      continue ;;
    ci | gpu)
      left=$((left + 1))
      continue ;;
  esac
  got=0
  sh -c "$command" >"$log" 2>&1 </dev/null || got=$?
  ran=$((ran + 1))
  if [ "$kind" = exercise ] && [ "$got" -ne 0 ]; then code=1; fi
  if [ "$got" -ne "$code" ]; then
    echo "$place: '$command' exits $got, not $code:"
    tail -n 20 "$log"
    status=1
  fi
done <<EOF
$commands
EOF
echo "$ran commands ran, $left were left out"
if [ $ran -eq 0 ]; then
  echo "found no command to run in book/*.md"
  status=1
fi
exit $status
