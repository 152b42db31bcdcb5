#!/bin/sh
# Reads the GPU's own counters while a stage runs: what the emulated device counts, as the hardware counts it.
set -eu
cd "$(dirname "$0")/.."
. common/setup.sh

usage() {
  cat <<'TEXT'
usage: docs/profile.sh STAGE [OPTION...]

Builds the stage for the GPU of this machine and runs it once under Nsight Compute (ncu). Options are those of the
stage's program: --variant wide --seq-q 2048 --causal ... Clocks are left alone, so times vary a little.

Exit codes: 0 right, 1 the program or ncu failed, 2 bad input, 3 no GPU, no ncu, or no permission to read counters.
TEXT
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; die "name a stage: $(ls stages | tr '\n' ' ')" ;;
esac
check_stages "$1"
stage=$1
shift
gpu_answers || die "no GPU answers (nvidia-smi lists none)" 3
command -v ncu >/dev/null || die "there is no ncu; it comes with the CUDA Toolkit as Nsight Compute" 3
build gpu "$stage"

# What each is for, in the words of the book:
#   time, share of the peak of SMs and of device memory
#   bytes that device memory and L2 moved
#   global loads: sectors for each request (4 for 16 aligned bytes a lane is 16; 32 is a sector a lane)
#   shared memory: wavefronts, and those that bank conflicts added
#   instructions, share of cycles with the tensor pipe at work, warps that were there
metrics=gpu__time_duration.sum
for metric in \
  sm__throughput.avg.pct_of_peak_sustained_elapsed dram__throughput.avg.pct_of_peak_sustained_elapsed \
  dram__bytes_read.sum dram__bytes_write.sum lts__t_bytes.sum \
  l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum \
  l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_ld.ratio \
  l1tex__data_pipe_lsu_wavefronts_mem_shared.sum \
  l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum \
  smsp__inst_executed.sum sm__inst_executed_pipe_tensor.sum \
  sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active \
  sm__warps_active.avg.pct_of_peak_sustained_active launch__registers_per_thread; do
  metrics=$metrics,$metric
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
ncu --clock-control none --metrics "$metrics" "build/gpu/bin/$stage" --no-check --no-time "$@" >"$log" 2>&1 || status=$?
if grep -q ERR_NVGPUCTRPERM "$log"; then
  die "this user may not read the GPU's counters; run as root, or load the driver with NVreg_RestrictProfilingToAdminUsers=0" 3
fi
# The metrics' long names, in the same order, as a reader says them; ncu's own progress is left out.
sed -e '/^==PROF==/d' \
  -e 's/gpu__time_duration.sum/time                         /' \
  -e 's/sm__throughput.avg.pct_of_peak_sustained_elapsed/SMs, of their peak/' \
  -e 's/dram__throughput.avg.pct_of_peak_sustained_elapsed/device memory, of its peak/' \
  -e 's/dram__bytes_read.sum/device memory read/' \
  -e 's/dram__bytes_write.sum/device memory written/' \
  -e 's/lts__t_bytes.sum/L2 traffic/' \
  -e 's/l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum/global load requests/' \
  -e 's/l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum/global load sectors/' \
  -e 's/l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_ld.ratio/global load sectors a request/' \
  -e 's/l1tex__data_pipe_lsu_wavefronts_mem_shared.sum/shared memory wavefronts/' \
  -e 's/l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum/bank conflicts of loads/' \
  -e 's/l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum/bank conflicts of stores/' \
  -e 's/smsp__inst_executed.sum/warp instructions/' \
  -e 's/sm__inst_executed_pipe_tensor.sum/tensor core instructions/' \
  -e 's/sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active/tensor cores at work/' \
  -e 's/sm__warps_active.avg.pct_of_peak_sustained_active/warps resident, of the most/' \
  -e 's/launch__registers_per_thread/registers a thread/' "$log"
[ $status -eq 0 ] || die "ncu or the program failed; its words are above" 1
