#!/bin/bash
# test_cuda_diff.sh: strata diff on the emulated table (STRATA_CUDA_LIB names the library of a device instead): numerics exact gives the files
# of the processor byte for byte, though rows and sums stay on the device; bf16 gives what its saved pairs add up to.
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash cuda-diff
lib=${STRATA_CUDA_LIB:-${BUILD:-build}/libstrata_cuda_emu.so}
case $lib in */*) ;; *) lib=./$lib ;; esac
if [ ! -e "$lib" ]; then
    skip "$lib was not built (it takes a C++ compiler)"
    finish
    exit
fi
export STRATA_CUDA_LIB=$lib
TINY="--no_figures --quiet --model_name tests/data/models/llama --pairs tests/data/diff/pairs.jsonl --dataset_path tests/data/diff/corpus.jsonl
    --sigma_windows 2 --floor_pairs 1 --lens_pairs 1 --ablation_pairs 1"
exact() { "$STRATA" diff $TINY --numerics exact --per_category 5 --save_pairs 2 --output_dir "$tmp/$1" --gpu_id "$1" "${@:2}"; }

works 'exact on the processor' exact cpu
works 'exact on the device' exact 0
for file in diff.json diff.safetensors diff.csv curves.csv pairs.safetensors; do
    if cmp "$tmp/cpu/$file" "$tmp/0/$file" >"$tmp/err" 2>&1; then ok; else bad "$file: the device's is not the processor's"; fi
done
works 'bf16' "$STRATA" diff $TINY --controls none --save_pairs 100 --gpu_id 0 --output_dir "$tmp/fast"
PYTHON=${PYTHON:-python3}
if "$PYTHON" -c 'import numpy' 2>/dev/null; then
    works 'bf16: what the saved pairs add up to' "$PYTHON" tools/verify_diff.py "$tmp/fast"
else
    skip 'verify_diff.py: Python has no numpy'
fi
finish
