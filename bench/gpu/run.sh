#!/bin/bash
# run.sh test|bench|all [DEVICE]: what is to be known of the CUDA tables on a GPU, from the programs of `make gpu-bundle` in $BUILD/gpu.
#   test   a smoke test of seconds; every kernel, the forward pass and the golden hashes against the oracle; other seeds; then
#          compute-sanitizer where it is installed
#   bench  writes bench/RESULTS.md: roofs, kernels, removal sweeps, transformers on the same device where torch is installed
# Everything is printed as it comes. Each program has a limit of its own, test and bench have LIMIT seconds each (420): what does not fit
# is left out and said so. Logs and results also go to $OUT where that is set. Ends at once, with one line, where there is no GPU.
cd "$(dirname "$0")/../.." || exit 1
what=${1:-all} device=${2:-0} gpu=${BUILD:-build}/gpu limit=${LIMIT:-420}
logs=${OUT:-$gpu}
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-$device} STRATA_CUDA_LIB=$gpu/libstrata_cuda.so
[ -x "$gpu/gpu_bench" ] || { echo "$gpu/gpu_bench is missing: make gpu-bundle builds it"; exit 1; }

# cuBLAS where the loader does not look by itself: other toolkits' folders, and NVIDIA's packages for Python.
find_cublas() {
    local missing folder
    missing=$(ldd "$STRATA_CUDA_LIB" 2>/dev/null | sed -n 's/^[[:space:]]*\(libcublasLt[^ ]*\) => not found.*/\1/p')
    [ -n "$missing" ] || return
    {
        printf '%s\n' /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib /opt/cuda*/lib64 /usr/lib/*-linux-gnu
        python3 -c 'import glob, sys; print("\n".join(d for p in sys.path for d in glob.glob(p + "/nvidia/*/lib")))' 2>/dev/null
    } | while read -r folder; do
        [ -e "$folder/$missing" ] && echo "$folder" && break
    done
}
cublas=$(find_cublas)
[ -z "$cublas" ] || export LD_LIBRARY_PATH=$cublas${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

name=$(timeout 60 "$gpu/gpu_bench" --device 2>&1) || { echo "${name:-gpu_bench --device did not end within 60 s}"; exit 1; }
echo "GPU: $name"
status=0

# Seconds that are left of the part's limit, at most $1.
left() {
    local seconds=$((begin + limit - SECONDS))
    [ $seconds -lt "$1" ] || seconds=$1
    echo "$seconds"
}

# check LOG SECONDS COMMAND...: runs it within its time; its last line, or what went wrong, is printed.
check() {
    local log=$logs/$1.log title=${*:3} seconds start=$SECONDS code
    seconds=$(left "$2")
    shift 2
    title=${title//$gpu\//}
    if [ "$seconds" -lt 5 ]; then
        echo "left out, no time: $title, seed $SEED"
        return 1
    fi
    timeout "$seconds" "$@" >"$log" 2>&1
    code=$?
    case $code in
    0) echo "$title, seed $SEED: $(tail -n 1 "$log") ($((SECONDS - start)) s)" ;;
    124) echo "stopped after $seconds s, no fault so far: $title, seed $SEED: $(tail -n 1 "$log")" ;;
    *)
        status=1
        echo "FAILED ($code): $title, seed $SEED"
        tail -n 20 "$log"
        ;;
    esac
    return $code
}

verify() {
    local begin=$SECONDS sanitizer tool
    export SEED=1
    if ! check smoke 60 "$gpu/test_cuda_ops" sums_of_rows; then
        echo 'the smoke test failed: nothing else is tried'
        status=1
        return
    fi
    check ops 120 "$gpu/test_cuda_ops"
    check forward 120 "$gpu/test_cuda_forward"
    check golden 90 "$gpu/test_cuda_golden"
    for SEED in 2 3; do
        check ops-$SEED 60 "$gpu/test_cuda_ops"
    done
    SEED=1
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    if [ -z "$sanitizer" ]; then
        echo 'compute-sanitizer is not installed'
        return
    fi
    for tool in memcheck racecheck synccheck; do
        check $tool 60 "$sanitizer" --tool $tool --error-exitcode 9 "$gpu/test_cuda_ops" attention
        check $tool-mixture 45 "$sanitizer" --tool $tool --error-exitcode 9 "$gpu/test_cuda_ops" mixture
    done
}

# note TEXT: a paragraph of the results.
note() {
    { echo; echo "$1"; } | tee -a "$out"
}

measure_transformers() {
    local python code
    python=$(command -v python3)
    if [ -z "$python" ] || ! timeout 60 "$python" -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
        note 'transformers: torch with CUDA was not installed where this was run.'
        return
    fi
    if [ "$(left 150)" -lt 30 ]; then
        note 'transformers: left out, no time.'
        return
    fi
    { echo; timeout "$(left 150)" "$python" -u bench/gpu/transformers_removal.py; } 2>"$logs/transformers.log" | tee -a "$out"
    code=${PIPESTATUS[0]}
    [ "$code" = 0 ] || note "transformers ended with status $code (124: the time was over): $(tail -n 1 "$logs/transformers.log")"
}

measure() {
    local begin=$SECONDS out=$logs/RESULTS.md code
    {
        echo '# Speed on a GPU'
        echo
        echo "Written by \`make gpu-bench\` ($(date -u +%Y-%m-%d)). Shares are of the roofs measured in the same run."
        [ "$what" = all ] && [ $status = 0 ] && echo "Every kernel and the forward pass were verified on this device before (\`make gpu-test\`)."
        echo
    } | tee "$out"
    timeout "$(left 600)" "$gpu/gpu_bench" 2>&1 | tee -a "$out"
    code=${PIPESTATUS[0]}
    if [ "$code" != 0 ]; then
        status=1
        note "gpu_bench ended with status $code before its end (124: the time was over): lines above are whole, others are missing."
    fi
    measure_transformers
    cp "$out" bench/RESULTS.md && echo "written: bench/RESULTS.md"
}

case $what in
test) verify ;;
bench) measure ;;
all) verify; measure ;;
*) echo "run.sh test|bench|all [DEVICE]"; exit 2 ;;
esac
exit $status
