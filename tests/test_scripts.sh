#!/bin/sh
# ./test must fail when the tests of either build fail, and ./run must refuse a wrong name before it builds anything.
# Stand-ins take the place of cmake, ctest and nvcc; FAILING names the preset whose tests fail.
# usage: test_scripts.sh SOURCE_FOLDER
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/bin" "$folder/common" "$folder/stages/01_naive"
touch "$folder/stages/01_naive/stage.cpp" "$folder/stages/01_naive/one_pass.cu"
cp "$1/test" "$1/run" "$folder/"
cp "$1/common/setup.sh" "$folder/common/"
printf '#!/bin/sh\ncase " $* " in *" $FAILING "*) exit 8 ;; esac\n' >"$folder/bin/ctest"
for tool in cmake nvcc; do printf '#!/bin/sh\n' >"$folder/bin/$tool"; done
chmod +x "$folder"/bin/*

# expect CODE PRESET: the exit code of ./test when PRESET's tests fail.
expect() {
  code=0
  FAILING=$2 PATH=$folder/bin:$PATH sh "$folder/test" >"$folder/log" 2>&1 </dev/null || code=$?
  [ "$code" -eq "$1" ] || { cat "$folder/log"; echo "failing: $2; expected exit code $1, got $code"; exit 1; }
}
expect 0 none
expect 1 emulated
expect 1 gpu

# refused WORD ARGUMENT...: ./run refuses in one line with this word, before it builds anything.
refused() {
  word=$1 code=0
  shift
  PATH=$folder/bin:$PATH sh "$folder/run" --device emulated "$@" >"$folder/log" 2>&1 </dev/null || code=$?
  [ "$code" -eq 2 ] && [ "$(wc -l <"$folder/log")" -eq 1 ] && grep -q "^error: .*$word" "$folder/log" ||
    { cat "$folder/log"; echo "./run $*: expected one line with '$word' and exit code 2, got $code"; exit 1; }
}
refused 02_tile 02_tile
refused two_pass 01_naive --variant two_pass
refused two_pass 01_naive/ --variant=two_pass --seq-q 5
refused --frobnicate --frobnicate
