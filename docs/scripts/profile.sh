#!/bin/sh
# Reads the GPU's own counters while a stage runs: what the emulated device counts, as the hardware counts it.
set -eu
cd "$(dirname "$0")/../.."
. common/setup.sh

usage() {
  cat <<'TEXT'
usage: docs/scripts/profile.sh STAGE [OPTION...]

Builds the stage for the GPU of this machine and runs it once under Nsight Compute (ncu). Options are those of the
stage's program: --variant wide --seq-q 2048 --causal ... Clocks are left alone, so times vary a little.

Exit codes: 0 right, 1 the program or ncu failed, 2 bad input, 3 no GPU, no ncu, or no permission to read counters.
TEXT
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; die "name a stage: $(cd stages && echo *)" ;;
esac
check_stages "$1"
stage=$1
shift
gpu_answers || die "no GPU answers (nvidia-smi lists none)" 3
command -v ncu >/dev/null || die "there is no ncu; it comes with the CUDA Toolkit as Nsight Compute" 3
build gpu "$stage"

# The counters, and what a reader calls them. 16 aligned bytes per lane are 16 sectors a request; a sector of its own for
# every lane is 32. Wavefronts are passes through shared memory, as many as the instructions need. Conflicts are
# counted by the memory unit, with passes among them that only lost their turn: to the copy engine, say.
counters='
gpu__time_duration.sum|time
sm__throughput.avg.pct_of_peak_sustained_elapsed|SMs, of their peak
dram__throughput.avg.pct_of_peak_sustained_elapsed|device memory, of its peak
dram__bytes_read.sum|device memory read
dram__bytes_write.sum|device memory written
lts__t_bytes.sum|L2 traffic
l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum|global load requests
l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum|global load sectors
l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_ld.ratio|sectors a global load request
smsp__sass_l1tex_data_pipe_lsu_wavefronts_mem_shared_op_ld.sum|shared wavefronts of loads
smsp__sass_l1tex_data_pipe_lsu_wavefronts_mem_shared_op_ldsm.sum|shared wavefronts of ldmatrix
smsp__sass_l1tex_data_pipe_lsu_wavefronts_mem_shared_op_st.sum|shared wavefronts of stores
l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum|conflicts of loads
l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum|conflicts of stores
l1tex__data_bank_conflicts_type_arbitration.sum|lost turns, global memory too
smsp__inst_executed.sum|warp instructions
sm__inst_executed_pipe_tensor.sum|tensor core instructions
sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active|tensor cores at work
sm__warps_active.avg.pct_of_peak_sustained_active|warps resident, of the most
launch__registers_per_thread|registers a thread'

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
ncu --clock-control none --metrics "$(printf '%s' "$counters" | sed '/^$/d; s/|.*//' | paste -sd, -)" \
  "build/gpu/bin/$stage" --no-check --no-time "$@" >"$log" 2>&1 || status=$?
if grep -q ERR_NVGPUCTRPERM "$log"; then
  die "this user may not read the GPU's counters; run as root, or load the driver with NVreg_RestrictProfilingToAdminUsers=0" 3
fi
if grep -q 'returned an error code (2)' "$log"; then
  grep -v '^==' "$log" >&2  # the program says what it does not understand
  exit 2
fi
if [ $status -ne 0 ]; then
  cat "$log" >&2
  die "ncu or the program failed; its words are above" 1
fi
grep -m 1 '^B=' "$log"  # the problem and the GPU
# A kernel's name and launch, then its counters in the order above.
printf '%s\n' "$counters" | awk -F'|' '
  function print_kernel(i) {
    if (kernel == "") return
    print "\n" kernel
    for (i = 1; i <= count; i++) if (metric[i] in value) printf "  %-32s %14s\n", called[i], value[metric[i]]
    split("", value)
  }
  FILENAME == "-" { if (NF == 2) { metric[++count] = $1; called[count] = $2; wanted[$1] = 1 } next }
  # void name<arguments>(parameters) (grid)x(block), Context 1, Stream 13, ...
  match($0, /\([0-9]+, [0-9]+, [0-9]+\)x\([0-9]+, [0-9]+, [0-9]+\), Context /) {
    print_kernel()
    shape = substr($0, RSTART, RLENGTH - length(", Context "))
    sub(/\)x\(/, ") blocks of (", shape)
    kernel = substr($0, 1, RSTART - 2)
    sub(/\([^()]*\)$/, "", kernel)
    gsub(/unnamed>::/, "", kernel)  # what ncu leaves of "::(anonymous namespace)::"
    sub(/^ *(void )?/, "", kernel)
    kernel = kernel ", " shape " threads"
    next
  }
  {
    fields = split($0, field, " ")
    if (!(field[1] in wanted)) next
    unit = fields > 2 && field[2] ~ /^(%|[KMGT]?byte|[num]?s)$/ ? " " field[2] : ""  # none for numbers of something
    value[field[1]] = field[fields] unit
  }
  END { print_kernel() }' - "$log"
