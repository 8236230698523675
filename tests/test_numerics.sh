#!/bin/bash
# test_numerics.sh: --numerics on the command line: under exact and ref64 a sweep's ledger is the same file whatever the threads, the
# instruction set and the budget; under stable whatever threads and budget; pairs that are not served are refused.
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash numerics
printf '{"ids":[5,17,230,42,901,7,7,1500]}\n{"ids":[3,2,1]}\n{"ids":[77,4000,12,13,14]}\n' >"$tmp/rows.jsonl"
sweep() { # NAME ARGUMENT...: the ledger's file is printed
    local name=$1
    shift
    "$STRATA" sweep --model_name tools/demo/model --dataset_path "$tmp/rows.jsonl" --orders '0-5,7-11' --output_dir "$tmp/$name" --quiet "$@" \
        >"$tmp/out" 2>"$tmp/err" || sed 's/^/    /' "$tmp/err" >&2
    echo "$tmp/$name"/*/*/ledger.safetensors
}
same() {
    if [ -s "$2" ] && cmp "$2" "$3"; then ok; else bad "$1"; fi
}
for numerics in exact ref64; do
    first=$(sweep $numerics.1 --numerics $numerics --threads 1)
    same "$numerics, threads" "$first" "$(sweep $numerics.2 --numerics $numerics --threads 3)"
    same "$numerics, instruction set" "$first" "$(sweep $numerics.3 --numerics $numerics --threads 2 --cpu scalar)"
    same "$numerics, budget" "$first" "$(sweep $numerics.4 --numerics $numerics --threads 2 --memory 24M)"
    grep -q '"numerics_version": *"v1"' "$tmp/$numerics.1"/*/*/ppl.json && ok || bad "$numerics: no version in ppl.json"
done
first=$(sweep stable.1 --numerics stable --threads 1)
same 'stable, threads' "$first" "$(sweep stable.2 --numerics stable --threads 3)"
same 'stable, budget' "$first" "$(sweep stable.3 --numerics stable --threads 2 --memory 24M)"
for pair in 'exact bf16' 'ref64 bf16' 'stable bf16' 'exactly f32'; do
    refuses 2 'is not served' next --model_name $MODEL --text a --numerics "${pair% *}" --dtype "${pair#* }"
done
finish
