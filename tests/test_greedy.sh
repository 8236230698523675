#!/bin/bash
# test_greedy.sh: a greedy sweep killed in every stage ends with the identical ledger and results.
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash greedy
# sweep NAME: one greedy sweep into the folder NAME.
sweep() {
    exec "$STRATA" sweep --model_name tools/demo/model --dataset_path tools/demo/wikitext-2-excerpt.txt --max_samples 24 --context 64 \
        --experiment greedy:3 --memory 16M --quiet --output_dir "$tmp/$1" >"$tmp/out" 2>"$tmp/err"
}
complete() { (sweep "$1"); }
folder=greedy_3/model_wikitext-2-excerpt_n24
works 'an uninterrupted sweep' complete whole
blocks=$(sed -n 's/.*"n_blocks": \([0-9]*\).*/\1/p' "$tmp/whole/$folder/ppl.json")
works "$blocks blocks a stage are enough to be killed in between" test "${blocks:-0}" -ge 2

# Killed as soon as the journal has so many blocks: in the first stage, after it, in the second, before the last choice.
journal=$tmp/killed/$folder/ledger.journal
kills=0
for target in 1 $((blocks)) $((blocks + 1)) $((2 * blocks)) $((3 * blocks - 1)); do
    sweep killed &
    pid=$!
    while kill -0 $pid 2>/dev/null && [ "$(grep -c '^block' "$journal" 2>/dev/null || true)" -lt "$target" ] 2>/dev/null; do
        sleep 0.01
    done
    kill -9 $pid 2>/dev/null && kills=$((kills + 1))
    wait $pid 2>/dev/null
done
works "the sweep was killed $kills times" test "$kills" -ge 4
works 'the sweep goes on to its end' complete killed
for file in ledger.safetensors ppl.json ppl.csv rows.jsonl influence.safetensors figures/layers.svg figures/layers.csv; do
    works "$file after $kills kills" cmp -s "$tmp/whole/$folder/$file" "$tmp/killed/$folder/$file"
done
cp "$tmp/whole/$folder/ppl.json" "$tmp/before.json"
works 'a finished sweep again' complete whole
works 'it wrote the same results' cmp -s "$tmp/whole/$folder/ppl.json" "$tmp/before.json"
refuses 2 'N from 1 to 11' sweep --model_name $MODEL --dataset_path $TEXT --experiment greedy:12 --output_dir "$tmp/r"
finish
