#!/bin/bash
# run.sh [all]: the instructions that nvcc makes of kernels/cuda, executed on the processor. tests/ptx translates the PTX of every kernel
# to C++ by a reading of the PTX ISA of its own; the tests of the table and of the kernels run on it, against the f64 oracle, with the checks of
# memory that tests/cuda_emu makes. Then faults are put into the inline assembly of cuda_device.cuh, and each must be noticed. Without `all` the
# longer programs and most of the faults are left out. ARCH=80 takes the PTX of that compute capability (90). A skip without nvcc, python3 of 3.9
# or a C++ compiler. It takes what `make test` has built in BUILD.
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
arch=${ARCH:-90}
passed=0 failed=0
skip() {
    echo "skipped: $1"
    [ "${STRICT:-}" = 1 ] && { echo '0 passed, 1 failed'; exit 1; }
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
}
nvcc=${NVCC:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)}
cxx=${EMU_CXX:-$(command -v g++ || command -v c++ || command -v clang++)}
[ -n "$nvcc" ] || skip 'nvcc is not installed'
[ -n "$cxx" ] || skip 'no C++ compiler for the CUDA kernels'
python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || skip 'python3 of 3.9 or later is not installed'
tmp=$(mktemp -d "${TMPDIR:-/tmp}/strata-ptx-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
sanitizers=$(sed 's/^[^ ]* //' "$build/flags.stamp" 2>/dev/null | tr ' ' '\n' | grep '^-fsanitize=' | tr '\n' ' ')
unset MAKEFLAGS MFLAGS MAKELEVEL

# make_ptx ARGUMENTS: the make of tests/ptx.
make_ptx() {
    make --no-print-directory -f tests/ptx/ptx.mk -j"$(nproc 2>/dev/null || echo 2)" BUILD="$build" NVCC="$nvcc" CXX="$cxx" ARCH="$arch" \
        LDFLAGS="$sanitizers" LIBS="$(tools/flags.sh libs)" "$@"
}
if ! make_ptx all >"$tmp/log" 2>&1; then
    grep -m 8 -E 'error|Error|\*\*\*' "$tmp/log" || tail -n 8 "$tmp/log"
    echo '0 passed, 1 failed'
    exit 1
fi
dir=$(cd "$build/ptx/$arch" && pwd)
read -r -a flags < <(make_ptx -s flags)
read -r -a objects < <(make_ptx -s objects)

check() {
    if STRATA_CUDA_LIB=$dir/libstrata_cuda_ptx.so timeout 600 "${@:2}" >"$tmp/log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        echo "ok: $1: $(tail -n 1 "$tmp/log")"
    else
        failed=$((failed + 1))
        echo "failed: $1"
        grep -v '^ok' "$tmp/log" | tail -n 12
    fi
}
check 'rows' "$dir/test_cuda_rows"
check 'convert' "$dir/test_cuda_convert"
check 'exact' "$dir/test_cuda_exact"
if [ "${1:-}" = all ]; then
    check 'every entry of the table' "$build/tests/test_cuda_ops"
    check 'head' "$dir/test_cuda_head"
    check 'forward pass' "$build/tests/test_cuda_forward"
    check 'hashes of numerics v1' "$build/tests/test_cuda_golden"
else
    for part in linear norm attention mixture pair_sums; do check "$part" "$build/tests/test_cuda_ops" $part; done
fi

# fault NAME UNIT TEST FROM TO: TEST (of test_cuda_ops) must fail when FROM in cuda_device.cuh, its first, is TO and UNIT is translated anew.
fault() {
    local name=$1 unit=$2 test=$3 text copy=$tmp/copy devices status
    text=$(cat kernels/cuda/cuda_device.cuh)
    mkdir -p "$copy/kernels/cuda"
    printf '%s\n' "${text/"$4"/"$5"}" >"$copy/kernels/cuda/cuda_device.cuh"
    cp "kernels/cuda/$unit.cu" "$copy/kernels/cuda/"
    mapfile -t devices < <(find "$dir/device" -name '*.o' ! -name "$unit.o")
    # shellcheck disable=SC2086
    if cmp -s kernels/cuda/cuda_device.cuh "$copy/kernels/cuda/cuda_device.cuh"; then
        echo "failed: $name: nothing to change"
        failed=$((failed + 1))
    elif ! { "$nvcc" -std=c++17 -O3 -I"$copy" -I. -arch=compute_"$arch" -ptx -o "$copy/unit.ptx" "$copy/kernels/cuda/$unit.cu" &&
        python3 tests/ptx/ptx_to_cpp.py "$copy/unit.ptx" "$copy/unit.cc" &&
        "$cxx" "${flags[@]}" -O0 -g0 -MF "$copy/unit.d" -w -c "$copy/unit.cc" -o "$copy/unit.o" &&
        "$cxx" -shared $sanitizers -o "$copy/lib.so" "$copy/unit.o" "$dir/ptx_runtime.o" "${devices[@]}" "$dir"/host/*.o "${objects[@]}" \
            -pthread -ldl -Wl,-Bsymbolic; } >"$tmp/log" 2>&1; then
        echo "failed: $name: does not build: $(grep -m 1 error "$tmp/log")"
        failed=$((failed + 1))
    else
        STRATA_CUDA_LIB=$copy/lib.so STRATA_EMU_STOP=1 timeout 300 "$build/tests/test_cuda_ops" "$test" >"$tmp/log" 2>&1 </dev/null
        status=$?
        # A test that only takes long noticed nothing.
        if [ $status = 0 ] || [ $status = 124 ]; then
            echo "failed: $name: $test does not notice (status $status)"
            failed=$((failed + 1))
        else
            echo "ok: noticed: $name: $(grep -m 1 -E '^emu: |failed: ' "$tmp/log" | cut -c 1-150)"
            passed=$((passed + 1))
        fi
    fi
}
mma='{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};'
fault 'registers of A are swapped' cuda_gemm_groups mixture "$mma" '{%0, %1, %2, %3}, {%4, %6, %5, %7}, {%8, %9}, {%0, %1, %2, %3};'
fault 'the bytes of a copy are not limited' cuda_gemm_groups mixture '[%1], 16, %2;' '[%1], 16, 16;'
if [ "${1:-}" = all ]; then
    fault 'registers of B are swapped' cuda_gemm_groups mixture "$mma" '{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%9, %8}, {%0, %1, %2, %3};'
    fault 'registers of D are swapped' cuda_gemm_groups mixture "$mma" '{%0, %2, %1, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};'
    fault 'registers of C are swapped' cuda_gemm_groups mixture "$mma" '{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%1, %0, %2, %3};'
    fault 'D is not read' cuda_gemm_groups mixture '"+f"(d[0])' '"=f"(d[0])'
    fault 'matrices are transposed' cuda_gemm_groups mixture 'x4.shared.b16' 'x4.trans.shared.b16'
    fault 'matrices are swapped' cuda_gemm_groups mixture '{%0, %1, %2, %3}, [%4];' '{%0, %2, %1, %3}, [%4];'
    fault 'the bytes of a copy are those left out' cuda_gemm_groups mixture '"r"(bytes)' '"r"(16 - bytes)'
    fault 'a wait leaves one group more' cuda_gemm_groups mixture '::"n"(N)' '::"n"(N + 1)'
    fault 'no group is committed' cuda_gemm_groups mixture 'cp.async.commit_group;' ''
    fault 'halves of a pair are swapped' cuda_gemm_groups mixture '"f"(high), "f"(low)' '"f"(low), "f"(high)'
    fault 'a barrier of the block is missing' cuda_gemm_groups mixture '__syncthreads();' ''
    fault 'a warp is two segments' cuda_norm norm '__shfl_xor_sync(mask, v, bits)' '__shfl_xor_sync(mask, v, bits, 16)'
    fault 'a ballot of those who say no' cuda_moe mixture '__ballot_sync(mask, p)' '__ballot_sync(mask, !p)'
    fault 'matrices are not transposed' cuda_attention attention 'x4.trans.shared.b16' 'x4.shared.b16'
    fault 'a barrier of the warp is missing' cuda_attention attention '__syncwarp(mask);' ''
    fault 'one over x in the place of 2 to the x' cuda_attention attention 'ex2.approx.ftz.f32' 'rcp.approx.ftz.f32'
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
