#!/bin/bash
# test_diff.sh: strata diff on the command line: refusals are one line with the right exit status, a run on the demonstration model writes all
# its files, and the same run writes the same bytes.
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash diff
PAIRS=tests/data/diff/demo.jsonl
TINY="--no_figures --model_name tests/data/models/llama --pairs tests/data/diff/pairs.jsonl --dataset_path tests/data/diff/corpus.jsonl"
holds() { if grep -qF -- "$3" "$2"; then ok; else bad "$1: $2 does not hold \"$3\""; fi; }

refuses 2 '--pairs is missing' diff --model_name $MODEL --output_dir "$tmp/refused"
refuses 1 "$tmp/none.jsonl" diff --model_name $MODEL --pairs "$tmp/none.jsonl" --output_dir "$tmp/refused"
refuses 2 '--tap: "mid"' diff --model_name $MODEL --pairs $PAIRS --tap mid --output_dir "$tmp/refused"
refuses 2 '--controls: "some"' diff --model_name $MODEL --pairs $PAIRS --controls some --output_dir "$tmp/refused"
refuses 2 '--categories: "tens"' diff --model_name $MODEL --pairs $PAIRS --categories tens --output_dir "$tmp/refused"
refuses 2 'order' diff --model_name $MODEL --pairs $PAIRS --order 0-99 --output_dir "$tmp/refused"
refuses 2 'pairs of another model?' diff --model_name tests/data/models/llama --pairs $PAIRS --dataset_path tests/data/diff/corpus.jsonl \
    --output_dir "$tmp/refused"
refuses 2 'give a corpus of ids rows' diff --model_name tests/data/models/llama --pairs tests/data/diff/pairs.jsonl --output_dir "$tmp/refused"
if [ -e "$tmp/refused" ]; then bad 'a refused run writes'; else ok; fi

# The whole study, twice; exact arithmetic has no floor between shapes of a batch.
run() { "$STRATA" diff --model_name $MODEL --pairs $PAIRS --output_dir "$1" --sigma_windows 16 --lens_pairs 1 --floor_pairs 2 --save_pairs 3 --per_category 24 --quiet $2; }
works 'the study' run "$tmp/a"
holds 'the summary' "$tmp/out" 'claims among'
works 'the study again' run "$tmp/b" --no_figures
for file in diff.json diff.safetensors diff.csv curves.csv pairs.safetensors pairs.jsonl; do
    if cmp -s "$tmp/a/$file" "$tmp/b/$file"; then ok; else bad "$file differs between two equal runs"; fi
done
works 'a finished run is done' run "$tmp/a"
holds 'a finished run is done' "$tmp/out" 'done already'
refuses 2 '--force' diff --model_name $MODEL --pairs $PAIRS --output_dir "$tmp/a" --sigma_windows 25
works 'plain analysis' "$STRATA" diff $TINY --controls none --output_dir "$tmp/plain"
holds 'plain analysis' "$tmp/out" 'nothing is claimed'
works 'branches' "$STRATA" diff $TINY --tap attn_out --output_dir "$tmp/attn" --quiet
works 'an order with a repeated and a half layer' "$STRATA" diff $TINY --order '0,1x2,2.mlp' --tap mlp_out --output_dir "$tmp/order" --quiet
works 'stable' "$STRATA" diff $TINY --numerics stable --output_dir "$tmp/stable" --quiet
holds 'shared prefixes change no bit in stable' "$tmp/out" 'whole sentences instead of shared prefixes  0'
works 'two checkpoints' "$STRATA" diff $TINY --against tests/data/models/llama-bias --output_dir "$tmp/two" --quiet
if [ -s "$tmp/two/against.json" ] && [ -s "$tmp/two/against/diff.json" ]; then ok; else bad 'two checkpoints leave no against.json'; fi
if [ -s "$tmp/a/figures/curves_last.png" ]; then ok; else bad 'no figure'; fi

# One dimension.
DIM="--model_name tests/data/models/llama --dataset_path tests/data/diff/corpus.jsonl"
works 'a dimension' "$STRATA" dim 1:3 $DIM
holds 'a dimension' "$tmp/out" 'Held at its mean'
works 'a dimension as JSON' "$STRATA" dim 0:31 $DIM --json
holds 'a dimension as JSON' "$tmp/out" '"schema": "strata.dim/1"'
refuses 2 'LAYER:DIMENSION' dim 12 $DIM
refuses 2 'a dimension below 32' dim 1:32 $DIM
refuses 2 'from 0 (the embedding) to 3' dim 4:0 $DIM
works 'differences are saved' "$STRATA" diff $TINY --save_pairs 100 --output_dir "$tmp/saved" --quiet
PYTHON=${PYTHON:-python3}
if "$PYTHON" -c 'import numpy' 2>/dev/null; then
    works 'verify_diff.py' "$PYTHON" tools/verify_diff.py "$tmp/saved"
    holds 'verify_diff.py' "$tmp/out" 'verified from saved pairs: 18 categories and positions (0 more'
    works 'verify_diff.py with controls' "$PYTHON" tools/verify_diff.py "$tmp/a"
    sed 's/"mean_abs": 0\.\([0-9]\)/"mean_abs": 0.1\1/' "$tmp/a/diff.json" >"$tmp/changed" && cp "$tmp/changed" "$tmp/a/diff.json"
    "$PYTHON" tools/verify_diff.py "$tmp/a" >"$tmp/out" 2>"$tmp/err"
    if [ $? = 1 ] && grep -q mean_abs "$tmp/err"; then ok; else bad 'verify_diff.py passes a changed diff.json'; fi
else
    skip 'verify_diff.py: Python has no numpy'
fi
finish
