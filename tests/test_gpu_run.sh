#!/bin/bash
# test_gpu_run.sh: what bench/gpu/run.sh makes of programs that pass, fail, hang or are missing: the programs here are scripts, so that no GPU is
# needed to see that a failure is told, that the rest is still run, and that the results are written whatever happens.
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash gpu-run

mkdir -p "$tmp/bench/gpu" "$tmp/build/gpu" "$tmp/bin"
cp bench/gpu/run.sh bench/gpu/transformers_removal.py "$tmp/bench/gpu/"
run() { env -u LIMIT -u OUT -u CUDA_VISIBLE_DEVICES PATH="$tmp/bin:$PATH" BUILD=build bash "$tmp/bench/gpu/run.sh" "$@" >"$tmp/log" 2>&1; }
program() { # NAME TEXT: a script in the bundle
    printf '#!/bin/sh\n%s\n' "$2" >"$tmp/build/gpu/$1"
    chmod +x "$tmp/build/gpu/$1"
}
says() { # NAME TEXT...: the last run printed all of it
    local name=$1
    shift
    for text in "$@"; do
        grep -qF -- "$text" "$tmp/log" || { bad "$name: no \"$text\""; sed 's/^/    /' "$tmp/log" | head -20; return; }
    done
    ok
}
exits() { # STATUS NAME ARGUMENT...
    local want=$1 name=$2
    shift 2
    run "$@"
    local got=$?
    [ $got = "$want" ] && ok || bad "$name: exit $got, expected $want"
}

exits 1 'no bundle' test
says 'no bundle' 'make gpu-bundle builds it'
program gpu_bench 'echo "gpu_bench: no GPU: the driver shows none" >&2; exit 1'
exits 1 'no GPU' bench
says 'no GPU' 'no GPU: the driver shows none'
[ -e "$tmp/bench/RESULTS.md" ] && bad 'results without a GPU' || ok

program gpu_bench '[ "$1" = --device ] && { echo "some GPU"; exit 0; }; echo "| a line |"; exit 3'
printf '#!/bin/sh\nexit 1\n' >"$tmp/bin/python3"
chmod +x "$tmp/bin/python3"
exits 1 'a bench that breaks off' bench
says 'a bench that breaks off' '| a line |' 'ended with status 3' 'torch with CUDA was not installed'
grep -qF '| a line |' "$tmp/bench/RESULTS.md" && grep -qF 'status 3' "$tmp/bench/RESULTS.md" && ok || bad 'its results are written'

program gpu_bench '[ "$1" = --device ] && { echo "some GPU"; exit 0; }; echo "| a line |"'
printf '#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "ValueError: no such argument" >&2\nexit 1\n' >"$tmp/bin/python3"
exits 0 'transformers that fail' bench
says 'transformers that fail' 'transformers ended with status 1' 'ValueError: no such argument'

for name in test_cuda_ops test_cuda_forward test_cuda_golden; do program $name 'echo "1 passed, 0 failed"'; done
printf '#!/bin/sh\nshift 4\nexec "$@"\n' >"$tmp/bin/compute-sanitizer"
chmod +x "$tmp/bin/compute-sanitizer"
exits 0 'tests that pass' test
says 'tests that pass' 'test_cuda_golden, seed 1: 1 passed' 'test_cuda_ops, seed 3' 'racecheck --error-exitcode 9 test_cuda_ops mixture'
program test_cuda_forward 'echo "a loss is off"; echo "0 passed, 1 failed"; exit 1'
exits 1 'a test that fails' test
says 'a test that fails' 'FAILED (1): test_cuda_forward' 'a loss is off' 'test_cuda_golden, seed 1: 1 passed'
program test_cuda_ops 'exit 1'
exits 1 'a smoke test that fails' test
says 'a smoke test that fails' 'nothing else is tried'
grep -q test_cuda_golden "$tmp/log" && bad 'and nothing is' || ok

# cuBLAS in a folder that only Python knows: a library that wants it, and the program finds it.
if command -v cc >/dev/null; then
    mkdir -p "$tmp/site/nvidia/cu13/lib"
    echo 'int answer(void) { return 1; }' >"$tmp/a.c"
    cc -shared -fPIC -o "$tmp/site/nvidia/cu13/lib/libcublasLt.so.99" "$tmp/a.c" -Wl,-soname,libcublasLt.so.99
    cc -shared -fPIC -o "$tmp/build/gpu/libstrata_cuda.so" "$tmp/a.c" -Wl,--no-as-needed "$tmp/site/nvidia/cu13/lib/libcublasLt.so.99"
    printf '#!/bin/sh\ncase $2 in *glob*) echo %s ;; *) exit 1 ;; esac\n' "$tmp/site/nvidia/cu13/lib" >"$tmp/bin/python3"
    program gpu_bench 'echo "looks in $LD_LIBRARY_PATH"'
    exits 0 'cuBLAS of a package' bench
    says 'cuBLAS of a package' "looks in $tmp/site/nvidia/cu13/lib"
else
    skip 'no cc'
fi
finish
