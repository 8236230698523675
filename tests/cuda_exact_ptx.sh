#!/bin/bash
# cuda_exact_ptx.sh: the instructions that nvcc makes of numerics v1's kernels (kernels/cuda/cuda_exact_*.cu), for the oldest and the newest
# architecture served: floating-point operations are IEEE ones of f64, rounded to nearest, and nothing approximate, contracted or flushed is
# among them. What f32 does: comparisons, moves, and the one product of bf16 ALiBi that v1 defines so. Likewise of the sums over pairs
# (cuda_pairs.cu), which have no fused operation at all, and f32 in groups and sketches. A skip without nvcc.
cd "$(dirname "$0")/.." || exit 1
nvcc=${NVCC:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)}
if [ -z "$nvcc" ]; then
    echo 'skipped: nvcc is not installed'
    [ "${STRICT:-}" = 1 ] && { echo '0 passed, 1 failed'; exit 1; }
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
tmp=$(mktemp -d "${TMPDIR:-/tmp}/strata-ptx-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0
exact='-fmad=false -ftz=false -prec-div=true -prec-sqrt=true'
# operations FILE: every instruction of f32 or f64 in it, once each.
operations() {
    grep -oE '^[[:space:]]*(@!?%p[0-9]+ )?[a-z0-9]+(\.[a-z0-9_]+)*\.f(16|32|64)(x2)?' "$1" | awk '{print $NF}' | sort -u
}
allowed='(fma|add|sub|mul|div|sqrt|rcp)\.rn\.f64|mul\.rn\.f32|cvt\.(rn\.)?f(32|64)(\.f(32|64))?|cvt\.rn\.f64(\.[su](32|64))?|(mov|neg|abs|min|max|selp|setp\.[a-z]+)\.f(32|64)|(ld|st)\.[a-z0-9.]+'
pairs='(add|sub|mul|div|rcp)\.rn\.f(32|64)|cvt\.rn\.f32\.f64|cvt\.f64\.f32|cvt\.rn\.f64(\.[su](32|64))?|cvt\.rzi\.u32\.f32|(mov|neg|abs|min|max|selp|setp\.[a-z]+)\.f(32|64)|(ld|st)\.[a-z0-9.]+'
strange() { operations "$1" | grep -vxE "$allowed"; }
check() {
    if "${@:2}"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "failed: $1"; fi
}
nothing_strange() {
    strange "$1" >"$tmp/strange"
    ! [ -s "$tmp/strange" ] || { head -5 "$tmp/strange"; return 1; }
}
for arch in compute_80 compute_90; do
    for unit in kernels/cuda/cuda_exact_*.cu; do
        # shellcheck disable=SC2086
        if ! "$nvcc" -std=c++17 -I. -ptx -arch=$arch $exact -o "$tmp/unit.ptx" "$unit" >"$tmp/log" 2>&1; then
            failed=$((failed + 1))
            echo "failed: nvcc for $arch: $(head -n 3 "$tmp/log")"
            continue 2
        fi
        cat "$tmp/unit.ptx" >>"$tmp/$arch.ptx"
    done
    # shellcheck disable=SC2086
    "$nvcc" -std=c++17 -I. -ptx -arch=$arch $exact -o "$tmp/pairs.ptx" kernels/cuda/cuda_pairs.cu >/dev/null 2>&1
    check "$arch: sums over pairs round every operation once" sh -c 'grep -q "add\.rn\.f64" "$1" && ! grep -qE "approx|\.ftz" "$1"' sh "$tmp/pairs.ptx"
    check "$arch: sums over pairs are IEEE operations" sh -c '[ -z "$1" ]' sh "$(operations "$tmp/pairs.ptx" | grep -vxE "$pairs")"
    check "$arch: only IEEE operations" nothing_strange "$tmp/$arch.ptx"
    check "$arch: the sums are fused multiply-adds of f64" grep -q 'fma\.rn\.f64' "$tmp/$arch.ptx"
    check "$arch: no fast mode, no call into a library" sh -c '! grep -qE "approx|\.ftz|call.*(__nv|exp|log|tanh)" "$1"' sh "$tmp/$arch.ptx"
done
# The check itself notices: with expf in the place of v1's exponential, and with contraction allowed.
mkdir -p "$tmp/copy/kernels/cuda"
sed 's/scores\[j\] = exact_exp(z - most)/scores[j] = expf((float)(z - most))/' kernels/cuda/cuda_exact_products.cu >"$tmp/copy/kernels/cuda/cuda_exact_products.cu"
# shellcheck disable=SC2086
"$nvcc" -std=c++17 -I. -ptx -arch=compute_80 $exact -o "$tmp/fault.ptx" "$tmp/copy/kernels/cuda/cuda_exact_products.cu" >/dev/null 2>&1
check 'an approximate exponential is noticed' sh -c 'cmp -s kernels/cuda/cuda_exact_products.cu "$1" && exit 1; grep -q "approx" "$2"' sh \
    "$tmp/copy/kernels/cuda/cuda_exact_products.cu" "$tmp/fault.ptx"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
