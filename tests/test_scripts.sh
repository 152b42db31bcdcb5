#!/bin/sh
# ./test must fail when the tests of either build fail. Stand-ins for cmake, ctest and nvcc take the place of the real
# ones; FAILING names the preset whose tests fail.
# usage: test_scripts.sh SOURCE_FOLDER
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/bin" "$folder/common" "$folder/stages"
cp "$1/test" "$folder/"
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
