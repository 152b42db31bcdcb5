#!/bin/sh
# commands.sh SOURCE_FOLDER BUILD_FOLDER: runs the commands that the book prints, in reading order, from the root of the
# repository, as a reader would. Above each block of commands in book/*.md stands what is to become of it:
#   <!-- run -->          run; every command must exit 0
#   <!-- run exit=N -->   run; every command must exit N
#   <!-- exercise -->     run; exits 1, or 0 where the reader has solved it
#   <!-- ci -->           not run here: a part of ./test, which calls this script
#   <!-- gpu -->          not run here: needs a GPU
# Where BUILD_FOLDER is not build/emulated, programs are taken from there and ./run and ./test are left out.
set -eu
cd "$1"
build=$2
preset=no
[ "$build" != "$PWD/build/emulated" ] || preset=yes
log=$build/book/commands.log
mkdir -p "$build/book"
status=0 ran=0 left=0

# Pages in reading order: the file that has the id of each page of contents.txt.
files=
for id in $(sed -n 's/^ \{1,\}\([a-z_0-9]*\).*/\1/p' book/contents.txt); do
  [ "$id" != index ] || id=mainpage
  files="$files $(grep -l "^# .*{#$id}" book/*.md || true)"
done

# "KIND EXIT FILE:LINE COMMAND", one a command.
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
  case $command in
    ./*)
      if [ $preset = no ]; then
        left=$((left + 1))
        continue
      fi ;;
  esac
  [ $preset = yes ] || command=$(printf '%s' "$command" | sed "s|build/emulated/|$build/|g")
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
[ $ran -gt 0 ] || status=1
exit $status
