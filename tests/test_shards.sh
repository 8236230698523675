#!/bin/bash
# test_shards.sh: shards of a sweep, joined, are the sweep: the same records and the same table; what does not belong together is refused by name.
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash shards
sweep() { "$STRATA" sweep --model_name $MODEL --dataset_path $TEXT --max_samples 12 --experiment block:5 --threads 1 --quiet "$@"; }
folder=block_5/model_wikitext-2-excerpt_n12
# The arrays of a ledger without its header, which names the fingerprint.
arrays() { tail -c +$((9 + $(od -An -t u8 -N 8 "$1"))) "$1"; }

works 'the whole' sweep --output_dir "$tmp/whole"
for k in 1 2 3; do works "shard $k" sweep --output_dir "$tmp/parts" --shard $k/3; done
parts=$tmp/parts/$folder
works 'merge' "$STRATA" merge "$parts" --quiet
arrays "$tmp/whole/$folder/ledger.safetensors" >"$tmp/a"
arrays "$parts/ledger.safetensors" >"$tmp/b"
works 'the same records' cmp "$tmp/a" "$tmp/b"
works 'the same rows' cmp "$tmp/whole/$folder/rows.jsonl" "$parts/rows.jsonl"
works 'the same table' cmp "$tmp/whole/$folder/ppl.csv" "$parts/ppl.csv"
works 'merged again' "$STRATA" merge "$parts/shard_1_of_3" "$parts/shard_3_of_3" "$parts/shard_2_of_3/" --quiet
"$STRATA" status "$tmp" >"$tmp/status" 2>&1
works 'status counts' grep -q '5 of 5 runs are complete' "$tmp/status"
works 'status as JSON' "$STRATA" status "$parts" --json

# A launcher's environment is a shard too; a launcher of one process is none.
works 'rank 1 of 2' env OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 "$STRATA" sweep --model_name $MODEL --dataset_path $TEXT \
    --max_samples 12 --experiment block:5 --threads 1 --quiet --output_dir "$tmp/mpi"
works 'its folder' test -f "$tmp/mpi/$folder/shard_2_of_2/ledger.safetensors"
refuses 2 'shard_1_of_2 is missing' merge "$tmp/mpi/$folder"
mkdir "$tmp/mpi/$folder/shard_1_of_2"
works 'another seed' sweep --output_dir "$tmp/other" --shard 1/2 --seed 7
cp "$tmp/other/$folder/shard_1_of_2/"* "$tmp/mpi/$folder/shard_1_of_2/" 2>/dev/null
refuses 2 'seed is' merge "$tmp/mpi/$folder"
sed -i 's/"complete"/"running"/' "$tmp/mpi/$folder/shard_1_of_2/run.json"
refuses 1 'is not finished' merge "$tmp/mpi/$folder"
"$STRATA" status "$tmp/mpi" >"$tmp/status" 2>&1
works 'status says running' grep -q '^running' "$tmp/status"
refuses 2 'expected K/N' sweep --model_name $MODEL --dataset_path $TEXT --shard 3/2 --output_dir "$tmp/r"
refuses 2 'is not shared out' sweep --model_name $MODEL --dataset_path $TEXT --shard 1/2 --experiment greedy:2 --output_dir "$tmp/r"
refuses 2 'found none' merge "$tmp/whole"
refuses 1 'no such folder' merge "$tmp/nowhere"
refuses 2 'name the result folder' merge

if command -v mpirun >/dev/null 2>&1; then
    works 'two ranks under mpirun' mpirun --allow-run-as-root --oversubscribe -n 2 "$STRATA" sweep --model_name $MODEL \
        --dataset_path $TEXT --max_samples 12 --experiment block:5 --threads 1 --quiet --output_dir "$tmp/ranks"
    works 'their merge' "$STRATA" merge "$tmp/ranks/$folder" --quiet
    arrays "$tmp/ranks/$folder/ledger.safetensors" >"$tmp/b"
    works 'the same records from ranks' cmp "$tmp/a" "$tmp/b"
else
    skip 'mpirun is not installed'
fi
finish
