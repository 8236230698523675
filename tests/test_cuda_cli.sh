#!/bin/bash
# test_cuda_cli.sh: --gpu_id at the command line, on the emulated table (STRATA_CUDA_LIB names the library of a device instead): what is
# chosen, stamped and refused, a sweep and its resumption; and that nvcc, where it is installed, compiles and links the library.
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash cuda-cli
build=${BUILD:-build}
TINY=tests/data/models/llama
lib=${STRATA_CUDA_LIB:-$build/libstrata_cuda_emu.so}
case $lib in */*) ;; *) lib=./$lib ;; esac
unset STRATA_CUDA_LIB OMPI_COMM_WORLD_LOCAL_RANK MPI_LOCALRANKID MV2_COMM_WORLD_LOCAL_RANK SLURM_LOCALID

# Without a library for a device, or with one that is none.
export STRATA_CUDA_LIB=$tmp/missing.so
refuses 1 'use --gpu_id cpu' next --model_name $TINY --ids 1,2 --gpu_id 0
works 'auto without a library' "$STRATA" next --model_name $TINY --ids 1,2
printf 'no library' >"$tmp/bad.so"
export STRATA_CUDA_LIB=$tmp/bad.so
refuses 1 'use --gpu_id cpu' next --model_name $TINY --ids 1,2 --gpu_id 0
refuses 2 'expected auto, cpu, or the number' next --model_name $TINY --ids 1,2 --gpu_id zero

arguments=(sweep --model_name $TINY --dataset_path "$tmp/ids.jsonl" --experiment removal --quiet)
sweep() { "$STRATA" "${arguments[@]}" "$@"; }
nlls() { grep -o '"nll": *[0-9.e+-]*' "$1"/removal/*/ppl.json | sed 's/.*: *//'; }
# near A B BOUND: the mean losses of two results, order by order, differ by less.
near() {
    paste -d ' ' <(nlls "$1") <(nlls "$2") | awk -v bound="$3" '
        { d = $1 - $2; if (NF != 2 || d >= bound || -d >= bound) bad = 1 }
        END { exit bad || NR != 4 }'
}
stamp() { sed -n 's/^ *"'"$1"'": *"\([^"]*\)".*/\1/p' "$2"/removal/*/run.json | head -n 1; }
printf '{"ids":[5,9,2,77,31,8,100,64]}\n{"ids":[1,2,3]}\n{"ids":[44,3,90,12,7,65,28,19,50,81,2]}\n' >"$tmp/ids.jsonl"
if [ -e "$lib" ]; then
    export STRATA_CUDA_LIB=$lib
    works 'a GPU by its number' sweep --gpu_id 0 --output_dir "$tmp/gpu"
    [ "$(stamp dtype "$tmp/gpu")" = bf16 ] && ok || bad 'bf16 is the default there'
    [ -n "$(stamp device "$tmp/gpu")" ] && [ "$(stamp device "$tmp/gpu")" != cpu ] && ok || bad 'the GPU is stamped'
    works 'the same again is done already' sweep --gpu_id 0 --output_dir "$tmp/gpu"
    works 'auto' sweep --output_dir "$tmp/auto"
    works 'auto takes the GPU' cmp "$tmp/gpu"/removal/*/ppl.json "$tmp/auto"/removal/*/ppl.json
    works 'a rank takes a GPU there is' env SLURM_LOCALID=3 "$STRATA" next --model_name $TINY --ids 1,2,3
    works 'auto, exact' sweep --numerics exact --output_dir "$tmp/exact"
    [ "$(stamp device "$tmp/exact")" = cpu ] && ok || bad 'exact runs on the processor'
    for dtype in f32 tf32; do
        works "auto, $dtype" sweep --dtype $dtype --output_dir "$tmp/$dtype"
        [ "$(stamp dtype "$tmp/$dtype")" = $dtype ] && ok || bad "$dtype is stamped"
        [ "$(stamp device "$tmp/$dtype")" = "$(stamp device "$tmp/gpu")" ] && ok || bad "$dtype runs on the GPU"
        grep -q "\"dtype\": *\"$dtype\"" "$tmp/$dtype"/removal/*/ppl.json && ok || bad "$dtype is in ppl.json"
        works "the same in $dtype is done already" sweep --gpu_id 0 --dtype $dtype --output_dir "$tmp/$dtype"
        for other in bf16 f32 tf32; do
            [ $other = $dtype ] || refuses 2 "dtype" "${arguments[@]}" --gpu_id 0 --dtype $other --output_dir "$tmp/$dtype"
        done
    done
    refuses 2 'dtype' "${arguments[@]}" --gpu_id 0 --dtype f32 --output_dir "$tmp/gpu"
    works 'f32 on the processor' sweep --gpu_id cpu --output_dir "$tmp/cpu"
    near "$tmp/f32" "$tmp/cpu" 5e-5 && ok || bad 'f32 gives the losses of the processor'
    near "$tmp/tf32" "$tmp/cpu" 0.05 && ok || bad 'TF32 is far from f32'
    near "$tmp/tf32" "$tmp/cpu" 1e-4 && bad 'TF32 gives the losses of f32' || ok
    works 'audit in f32' "$STRATA" audit --model_name $TINY --ids 1,2,3,4,5,6,7,8,9,10,11,12 --gpu_id 0 --dtype f32
    grep -q 'margin <= 1: yes' "$tmp/out" && ok || bad 'every operation of f32 is within its bound'
    refuses 2 "are those of a GPU's tensor cores" next --model_name $TINY --ids 1,2 --gpu_id cpu --dtype tf32
    refuses 2 'is not served' next --model_name $TINY --ids 1,2 --gpu_id 0 --dtype f16
    refuses 2 'is not served' next --model_name $TINY --ids 1,2 --gpu_id 0 --numerics exact --dtype tf32
    refuses 2 'is not served' next --model_name $TINY --ids 1,2 --gpu_id 0 --numerics stable
    refuses 1 'use --gpu_id cpu' next --model_name $TINY --ids 1,2 --gpu_id 4711
    works 'trace' "$STRATA" trace --model_name $TINY --ids 1,2,3 --gpu_id 0 --output "$tmp/t.safetensors"
    works 'inside' "$STRATA" next --model_name tests/data/models/mixtral --ids 1,2,3,4 --gpu_id 0 --json
else
    skip "$lib was not built (it takes a C++ compiler)"
fi

# PTX alone: what nvcc's front end and the linker have to say, in a fraction of the time that code for devices takes.
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
if [ -n "$nvcc" ]; then
    works 'nvcc compiles and links' nice make --no-print-directory -s -j2 CUDA=1 CUDA_ARCHS= BUILD="$build/ptx" "$build/ptx/libstrata_cuda.so"
    nm -D --defined-only "$build/ptx/libstrata_cuda.so" 2>/dev/null | awk '{print $3}' >"$tmp/exports"
    [ "$(cat "$tmp/exports")" = strata_cuda_entry ] && ok || bad "exports $(head -3 "$tmp/exports" | tr '\n' ' ')"
    export STRATA_CUDA_LIB=$build/ptx/libstrata_cuda.so
    if [ -e /proc/driver/nvidia/version ]; then
        works 'the driver translates the PTX' env -u CUDA_VISIBLE_DEVICES "$STRATA" next --model_name $TINY --ids 1,2,3 --gpu_id 0
    else
        refuses 1 'use --gpu_id cpu' next --model_name $TINY --ids 1,2 --gpu_id 0
    fi
else
    skip 'nvcc is not installed'
fi
finish
