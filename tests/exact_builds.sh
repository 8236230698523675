#!/bin/bash
# exact_builds.sh [all]: the golden hashes of numerics v1 under other compilers and optimisation levels, and their power to notice: in
# copies of kernels/exact two additions are swapped, a fused multiply-add is dropped, a segment or an order is changed, and the hashes
# must fail. Only what the arithmetic is made of is compiled anew. Without `all`: gcc -O1, clang -O3 and two mutations; with it each at
# -O1, -O2 and -O3, all mutations, and, where nvcc is installed, the instructions it makes of the headers for a device.
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/strata-exact-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
golden=tests/data/golden/v1.txt
flags="-std=c11 -D_GNU_SOURCE -I. -I$build/generated $(tools/flags.sh cflags) -ffp-contract=off -fno-math-errno -fno-tree-slp-vectorize -pthread"
libs="$(tools/flags.sh libs) -lm -pthread"

# program FOLDER COMPILER FLAGS...: test_exact with FOLDER's kernels/exact in place of the library's, at $tmp/test_exact.
program() {
    local from=$1 cc=$2 simd objects=() source object
    shift 2
    for source in "$from"/kernels/exact/*.c loaders/rope_table.c tests/test_exact.c; do
        object=$tmp/$(basename "$source" .c).o
        simd=
        if [ "$(uname -m)" = x86_64 ]; then
            case $source in
            *_avx2.c) simd='-mavx2 -mfma -mf16c' ;;
            *_avx512.c) simd='-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c' ;;
            esac
        fi
        # shellcheck disable=SC2086
        "$cc" -I"$from" $flags $simd "$@" -c "$source" -o "$object" || return 1
        objects+=("$object")
    done
    # shellcheck disable=SC2086
    "$cc" "$@" -o "$tmp/test_exact" "${objects[@]}" "$build/libobjects.a" $libs
}

variants='gcc:-O1 clang:-O3'
[ "${1:-}" = all ] && variants='gcc:-O1 gcc:-O2 gcc:-O3 clang:-O1 clang:-O2 clang:-O3'
for variant in $variants; do
    cc=${variant%:*}
    if ! command -v "$cc" >/dev/null; then
        echo "skipped: $cc is not installed"
        if [ "${STRICT:-}" = 1 ]; then failed=$((failed + 1)); else skipped=$((skipped + 1)); fi
    elif program . "$cc" "${variant#*:}" -g0 && "$tmp/test_exact" --golden >"$tmp/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: $variant"
        grep 'failed:' "$tmp/log" | head -5
    fi
done

# mutation FILE SED-EXPRESSION NAME: the expression must change the file, and the hashes must notice.
mutation() {
    rm -rf "$tmp/copy"
    mkdir -p "$tmp/copy/kernels"
    cp -r kernels/exact "$tmp/copy/kernels/"
    sed -i -e "$2" "$tmp/copy/kernels/exact/$1"
    if cmp -s "kernels/exact/$1" "$tmp/copy/kernels/exact/$1"; then
        echo "failed: mutation '$3' finds nothing to change"
        failed=$((failed + 1))
    elif ! program "$tmp/copy" "${CC:-gcc}" -O1 -g0; then
        echo "failed: mutation '$3' does not compile"
        failed=$((failed + 1))
    elif "$tmp/test_exact" --quick >"$tmp/log" 2>&1 || ! grep -q 'is not the committed hash' "$tmp/log"; then
        echo "failed: mutation '$3' goes unnoticed"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
}
CC=gcc
mutation exact_elementary.inc 's/p = FMA(p, r \* r, r) + 1.0;/p = FMA(p, r * r, SPLAT(1.0)) + r;/' 'two additions of exp swapped'
mutation exact_kernels.inc 's/low##i = VFMA(b, w0, low##i);/low##i = b * w0 + low##i;/' 'a fused multiply-add of the products dropped'
[ "${1:-}" = all ] && {
    mutation exact_canon.h 's/EXACT_SEGMENT = 256/EXACT_SEGMENT = 128/' 'shorter segments'
    mutation exact_elements.inc 's/for (size_t s = 0; s < W && first + s \* EXACT_SEGMENT < n; s++) {/for (size_t s = W; s-- > 0;) {/' 'segments of the head joined backwards'
    mutation exact_elements.inc 's/VFMA(a, c, -(b \* s))/a * c - b * s/' 'a fused multiply-add of RoPE dropped'
    mutation exact_canon.inc 's/sum = fma((double)a\[i\], (double)b\[i\], sum)/sum += (double)a[i] * (double)b[i]/' 'a fused multiply-add of norms dropped'
}
# The device's instructions, by nvcc: IEEE operations of f64 (the inverse is one too) and of f32 products, nothing approximate.
if [ "${1:-}" = all ] && command -v nvcc >/dev/null; then
    cat >"$tmp/device.cu" <<'END'
#include "kernels/exact/exact_canon.h"
__global__ void all(double *o, const float *a, const double *b, int n, float *f, int *chosen)
{
    double sine, cosine;
    exact_sincos(b[0], &sine, &cosine);
    exact_rotate(b[0], b[1], cosine, sine, o, o + 1);
    for (int i = 0; i < 5; i++)
        o[2 + i] = exact_act(b[i], (ExactAct)i);
    o[7] = exact_score(b[0], 0.5, 2.0, 0.25, 3.0) + exact_bf16_alibi(0.5f, a[0], n);
    o[8] = exact_log(exact_sum_exp_f32(a, 0, n, exact_most_f32(a, n))) + exact_kl_f32(a, a + n, n, b[0], b[1]);
    o[9] = exact_rms_inverse_f64(b, n, 1e-5f) + exact_layer_inverse_f64(b, n, 1e-5f, o + 10) + exact_pow(b[0], b[1]);
    exact_attend_f32(o + 11, a, a, n, a, n, n, 0, n, 0.5, 0.0, 0.0, 0.0, o + 99);
    exact_route_f32(a, n, 2, true, chosen, f);
    chosen[2] = exact_rank_f64(b, n, 3) + exact_top1_f64(b, n);
    f[2] = exact_expf(a[0]);
    f[3] = exact_logf(a[0]);
    f[4] = exact_sinf(a[0]);
    f[5] = exact_cosf(a[0]);
}
END
    if nvcc -I. -ptx -fmad=false -ftz=false -prec-div=true -prec-sqrt=true -o "$tmp/device.ptx" "$tmp/device.cu" >"$tmp/log" 2>&1 &&
        grep -q 'fma\.rn\.f64' "$tmp/device.ptx" &&
        ! grep -oE '^[[:space:]]*(@%p[0-9]+ )?[a-z0-9]+(\.[a-z0-9]+)*\.f(32|64)' "$tmp/device.ptx" | awk '{print $NF}' | sort -u |
            grep -vxE '(fma|add|sub|mul|div|sqrt|rcp)\.rn\.f64|mul\.(rn\.)?f32|cvt\.[a-z0-9.]+|(mov|neg|abs|min|max|selp|setp\.[a-z]+)\.f(32|64)|(ld|st)\.[a-z0-9.]+' \
                >"$tmp/strange"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: the device's instructions"
        cat "$tmp/log" "$tmp/strange" | head -5
    fi
fi
[ -s "$golden" ] || failed=$((failed + 1))
line="$passed passed, $failed failed"
[ "$skipped" -gt 0 ] && line="$line, $skipped skipped"
echo "$line"
[ "$failed" = 0 ]
