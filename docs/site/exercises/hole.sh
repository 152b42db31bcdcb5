#!/bin/sh
# hole.sh ROOT FILE PROGRAM: an exercise as it is in the repository must not pass, and must say so in words.
if [ -n "$(git -C "$1" status --porcelain -- "$2" 2>/dev/null)" ]; then
  echo "skipped: $2 has been worked on"
  exit 77
fi
output=$("$3" 2>&1)
status=$?
printf '%s\n' "$output"
if [ $status -ne 1 ]; then
  echo "$2 exits $status; a hole should fail its checks, with exit code 1"
  exit 1
fi
printf '%s\n' "$output" | grep -q '^Not solved yet'
