#!/bin/bash
# run.sh test|bench|all [DEVICE]: what is to be known of cuda/fast on a GPU, from the programs of `make gpu-bundle` in $BUILD/gpu.
#   test   every kernel and the forward pass against the oracle under three seeds, then under compute-sanitizer where it is installed
#   bench  writes bench/RESULTS.md: roofs, kernels, removal sweeps, transformers on the same device where torch is installed
# Ends at once, with one line, where there is no GPU.
cd "$(dirname "$0")/../.." || exit 1
what=${1:-all} device=${2:-0} gpu=${BUILD:-build}/gpu
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-$device} STRATA_CUDA_LIB=$gpu/libstrata_cuda.so
[ -x "$gpu/gpu_bench" ] || { echo "$gpu/gpu_bench is missing: make gpu-bundle builds it"; exit 1; }
name=$("$gpu/gpu_bench" --device 2>&1) || { echo "$name"; exit 1; }
echo "GPU: $name"
status=0

verify() {
    local seed program line log=$gpu/test.log
    : >"$log"
    for seed in 1 2 3; do
        for program in test_cuda_ops test_cuda_forward; do
            SEED=$seed "$gpu/$program" >>"$log" 2>&1 || { status=1; echo "FAILED: $program, seed $seed (see $log)"; tail -n 20 "$log"; }
            line=$(tail -n 1 "$log")
            echo "$program, seed $seed: $line"
        done
    done
    local sanitizer
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    if [ -n "$sanitizer" ]; then
        for tool in memcheck racecheck synccheck; do
            SEED=1 timeout 300 "$sanitizer" --tool $tool --error-exitcode 9 "$gpu/test_cuda_ops" >"$gpu/$tool.log" 2>&1
            case $? in
            0) echo "compute-sanitizer $tool: nothing found" ;;
            124) echo "compute-sanitizer $tool: stopped after 300 s, nothing found so far" ;;
            *) status=1; echo "FAILED: compute-sanitizer $tool (see $gpu/$tool.log)"; tail -n 5 "$gpu/$tool.log" ;;
            esac
        done
    else
        echo 'compute-sanitizer is not installed'
    fi
}

measure() {
    local out=$gpu/RESULTS.md python
    {
        echo '# Speed on a GPU'
        echo
        echo "Written by \`make gpu-bench\` ($(date -u +%Y-%m-%d), commit $(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)). Shares are of the roofs measured in the same run."
        [ $what = all ] && [ $status = 0 ] && echo "Every kernel and the forward pass were verified on this device before (\`make gpu-test\`)."
        echo
        "$gpu/gpu_bench"
    } | tee "$out"
    [ "${PIPESTATUS[0]}" = 0 ] || { status=1; return; }
    python=$(command -v python3)
    if [ -n "$python" ] && "$python" -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
        { echo; "$python" bench/gpu/transformers_removal.py; } 2>"$gpu/transformers.log" | tee -a "$out"
    else
        { echo; echo 'transformers: torch with CUDA was not installed where this was run.'; } | tee -a "$out"
    fi
    cp "$out" bench/RESULTS.md && echo "written: bench/RESULTS.md"
}

case $what in
test) verify ;;
bench) measure ;;
all) verify; measure ;;
*) echo "run.sh test|bench|all [DEVICE]"; exit 2 ;;
esac
exit $status
