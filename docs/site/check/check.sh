#!/bin/sh
# check.sh BOOK_FOLDER light|dark: looks at every page of a built book in headless Chromium, in light or dark mode, at the
# width of a desk and of a phone: links, anchors, TeX, errors on the console, requests to a network, width, search, keys.
# Exit code 0 when nothing is wrong, 77 where there is no Chromium.
set -eu
folder=$(cd "$1" && pwd)
mode=$2
here=$(cd "$(dirname "$0")" && pwd)
chromium=
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null 2>&1; then chromium=$name; break; fi
done
if [ -z "$chromium" ]; then
  echo "skipped: no Chromium to look at the book with (apt-get install chromium)"
  exit 77
fi
[ -f "$folder/html/index.html" ] || { echo "there is no book in $folder"; exit 1; }

profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
mkdir -p "$folder/check"
status=0
page=$folder/check/$mode.html
{
  echo '<!DOCTYPE html><meta charset="utf-8"><title>check</title><body><script>'
  [ $mode = dark ] && echo 'const dark = true;' || echo 'const dark = false;'
  echo 'const pages = ['
  (cd "$folder/html" && ls ./*.html) | sed "s|^\./\(.*\)|'\1',|"
  echo ']; const others = ['
  (cd "$folder/html" && ls ./*/*.html 2>/dev/null) | sed "s|^\./\(.*\)|'\1',|"
  echo '];</script><script>'
  cat "$here/check.js"
  echo '</script>'
} >"$page"
# --no-sandbox only for root, who has no other way; the pages are our own.
set -- --headless --disable-gpu --disable-quic --no-first-run --disable-background-networking \
  --disable-component-update --disable-sync --user-data-dir="$profile/$mode" --allow-file-access-from-files \
  --enable-logging=stderr --window-size=1500,1000 --virtual-time-budget=600000 --dump-dom
[ "$(id -u)" -ne 0 ] || set -- --no-sandbox "$@"
[ $mode = light ] || set -- --blink-settings=preferredColorScheme=0 "$@"
timeout 300 "$chromium" "$@" "file://$page" >"$folder/check/$mode.out" 2>"$folder/check/$mode.log" || true

problems=$(sed -n 's/^problem //p' "$folder/check/$mode.out" | sed 's/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g' | sort -u)
if [ -n "$problems" ]; then
  printf '%s\n' "$problems"
  status=1
fi
if ! grep -q '^END ' "$folder/check/$mode.out"; then
  echo "Chromium did not finish in $mode; see $folder/check/$mode.log"
  status=1
fi
if grep 'CONSOLE' "$folder/check/$mode.log"; then
  echo "the lines above are from the console, in $mode"
  status=1
fi
echo "$mode: $(grep '^END ' "$folder/check/$mode.out" | sed 's/END //; s/<.*//')"
exit $status
