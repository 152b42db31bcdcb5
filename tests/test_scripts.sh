#!/bin/sh
# ./test must fail when the tests of either build fail, and ./run must refuse a wrong name before it builds anything.
# Stand-ins take the place of cmake, ctest, nvcc and nvidia-smi; FAILING names the preset whose tests fail, and GPU what
# nvidia-smi lists.
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
printf '#!/bin/sh\necho "$GPU"\n' >"$folder/bin/nvidia-smi"
chmod +x "$folder"/bin/*

# expect CODE PRESET GPU [OPTION]: the exit code of ./test when PRESET's tests fail.
expect() {
  code=0
  FAILING=$2 GPU=$3 PATH=$folder/bin:$PATH sh "$folder/test" $4 >"$folder/log" 2>&1 </dev/null || code=$?
  [ "$code" -eq "$1" ] ||
    { cat "$folder/log"; echo "failing: $2, GPU: '$3', $4: expected exit code $1, got $code"; exit 1; }
}
expect 0 none "GPU 0" ""
expect 1 emulated "GPU 0" ""
expect 1 gpu "GPU 0" ""
expect 1 emulated "" ""
expect 0 gpu "" ""  # no GPU: its kernels are compiled, and the output says that no test was run
grep -q '^no GPU answers: ' "$folder/log" || { cat "$folder/log"; echo "the output does not say what was not run"; exit 1; }
expect 1 gpu "" --all

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
