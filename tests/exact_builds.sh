#!/bin/bash
# exact_builds.sh [all]: the golden hashes of numerics v1 under other compilers and optimisation levels, and their power to notice: in
# copies of kernels/exact two additions are swapped, a fused multiply-add is dropped, a segment or an order is changed, and the hashes
# must fail. Only what the arithmetic is made of is compiled anew. Without `all`: gcc -O1 and clang -O3; with it each at -O1, -O2, -O3.
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/strata-exact-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
golden=tests/data/golden/v1.txt
flags="-std=c11 -D_GNU_SOURCE -I. -I$build/generated $(tools/flags.sh cflags) -ffp-contract=off -fno-math-errno -pthread"
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
    mutation exact_elements.inc 's/for (size_t s = 0; s < count; s++) {/for (size_t s = count; s-- > 0;) {/' 'segments of the head joined backwards'
    mutation exact_elements.inc 's/VFMA(a, c, -(b \* s))/a * c - b * s/' 'a fused multiply-add of RoPE dropped'
    mutation exact_canon.inc 's/sum = fma((double)a\[i\], (double)b\[i\], sum)/sum += (double)a[i] * (double)b[i]/' 'a fused multiply-add of norms dropped'
}
[ -s "$golden" ] || failed=$((failed + 1))
line="$passed passed, $failed failed"
[ "$skipped" -gt 0 ] && line="$line, $skipped skipped"
echo "$line"
[ "$failed" = 0 ]
