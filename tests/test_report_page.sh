#!/bin/sh
# usage: test_report_page.sh REPORT TESTS_DIR: makes pages with REPORT and looks at them in a headless Chromium, in a wide
# window and one as wide as a phone, with one results file and with two. Exits 77 where a page cannot be looked at.
set -eu
report=$1 tests=$2
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
  { echo "skipped: no Chromium (apt-get install chromium)"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

sed 's/Example GPU/Another GPU/; s/"real_time": /"real_time": 1/' "$tests/report_results.json" >"$scratch/other.json"
"$report" "$tests/report_results.json" -o "$scratch/one" >"$scratch/log" 2>&1 || {
  if grep -q 'Chart.js is not installed' "$scratch/log"; then echo "skipped: $(cat "$scratch/log")"; exit 77; fi
  cat "$scratch/log"; exit 1; }
cat >"$scratch/run.json" <<'JSON'
{"device": {"name": "emulated device", "emulated": true},
 "problem": {"batch": 1, "heads": 8, "kv_heads": 8, "seq_q": 512, "seq_kv": 512, "head_dim": 64, "causal": false},
 "results": [{"stage": "01_naive", "variant": "one_pass", "verdict": "right", "max_abs_error": 0.0004, "tolerance": 0.0016,
              "profile": {"total": {"global_load_sectors": 1234567}}}]}
JSON
"$report" "$tests/report_results.json" "$scratch/other.json" "$scratch/run.json" -o "$scratch/two" >/dev/null

status=0
for page in one two; do
  # Errors are collected from before the first script on. A browser that shows its page to nobody draws frames when it
  # likes, so frames are made timers.
  sed -i 's|<script src="chart.min.js">|<script>window.faults = []; window.onerror = message => { faults.push(message); };\
console.error = (...words) => { faults.push(words.join(" ")); };\
window.requestAnimationFrame = draw => setTimeout(() => draw(performance.now()), 1);</script>&|; s|</body>|<script src="check.js"></script></body>|' \
    "$scratch/$page/index.html"
  cp "$tests/test_report_page.js" "$scratch/$page/check.js"
  # Chromium's windows are at least 500 wide; a frame in one is as narrow as a phone.
  cat >"$scratch/$page/phone.html" <<'HTML'
<!DOCTYPE html><body><iframe src="index.html" width="390" height="844"></iframe>
<script>onmessage = message => { document.body.dataset.verdict = message.data; };</script></body>
HTML
  for view in index.html phone.html; do
    verdict=$("$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" --window-size=1200,900 \
      --virtual-time-budget=20000 --dump-dom "file://$scratch/$page/$view" 2>/dev/null |
      sed -n 's/.*<body[^>]*data-verdict="\([^"]*\)".*/\1/p')
    echo "$page results file(s), $view: ${verdict:-no verdict}"
    [ "$verdict" = right ] || status=1
  done
done
exit $status
