#!/bin/bash
# test_pos.sh: `strata pos` as a user meets it: found by name, refused with one line, the same bytes again, and every figure of
# ppl.json and pos.json recomputed in numpy (a counted skip where Python has no numpy; PYTHON names another interpreter).
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash pos
PYTHON=${PYTHON:-python3}
export PYTHONDONTWRITEBYTECODE=1
# says NAME TEXT: the last command's output holds TEXT.
says() {
    if grep -qF -- "$2" "$tmp/out"; then ok; else bad "$1: no \"$2\" in its output"; fi
}
pos="pos --dataset_path $TEXT --experiment removal --sample_size 60 --output_dir $tmp/r"
folder=$tmp/r/removal/model_wikitext-2-excerpt_n60

refuses 2 'make it with `strata sweep`' $pos --model_name model
works 'a sweep' "$STRATA" sweep --model_name $MODEL --dataset_path $TEXT --max_samples 60 --context 96 --experiment removal --output_dir "$tmp/r" --quiet
works 'pos by the last part of the name' "$STRATA" $pos --model_name model
says 'pos' 'minus other words'
says 'pos' 'it was not measured on this corpus'
says 'pos' 'next: strata compare'
cp "$folder/pos.json" "$tmp/first.json"
cp "$folder/pos_words.csv" "$tmp/first.csv"
works 'pos by the whole name' "$STRATA" $pos --model_name $MODEL
cmp -s "$folder/pos.json" "$tmp/first.json" && cmp -s "$folder/pos_words.csv" "$tmp/first.csv" && ok || bad 'pos.json differs the second time'
works 'pos of a folder, as JSON' "$STRATA" pos --model_name "$folder" --json --quiet
cmp -s "$tmp/out" "$folder/pos.json" && ok || bad '--json prints another pos.json'
works 'Japanese captions' "$STRATA" pos "$folder" --lang ja --quiet
for figure in pos_heatmap pos_lines pos_bars pos_bars_worst; do
    for ending in svg png pdf csv; do
        [ -s "$folder/figures/$figure.$ending" ] && ok || bad "figures/$figure.$ending is not there"
    done
done
works 'help' "$STRATA" help pos
refuses 2 'there are:' $pos --model_name mode
refuses 2 'there are:' $pos --model_name tools/demo
refuses 2 '--lang' $pos --model_name model --lang xx
refuses 2 'behind it' pos "$folder" other
refuses 2 '--dataset_type is missing' pos --model_name model
refuses 2 '--model_name is missing' pos --dataset_type wiki-text-2
refuses 1 'no-such-file' $pos --model_name model --gold "$tmp/no-such-file"
cp -r "$folder" "$tmp/r/removal/other_wikitext-2-excerpt_n60"
refuses 2 '2 results match' $pos --model_name model
works 'the slug decides' "$STRATA" $pos --model_name other
rm -r "$tmp/r/removal/other_wikitext-2-excerpt_n60"

if "$PYTHON" -c 'import numpy' 2>/dev/null; then
    works 'fine tags' "$STRATA" pos --model_name "$folder" --fine --quiet
    works 'verify.py on fine tags' "$PYTHON" tools/verify.py "$folder"
    works 'pos without them' "$STRATA" pos --model_name "$folder" --quiet
    works 'verify.py' "$PYTHON" tools/verify.py "$folder"
    says 'verify.py' 'figures of pos.json agree'
    sed 's/"word_contrast": -*0*\.*[0-9]/&1/' "$folder/pos.json" >"$tmp/changed.json"
    cmp -s "$folder/pos.json" "$tmp/changed.json" && bad 'nothing was changed'
    cp "$tmp/changed.json" "$folder/pos.json"
    "$PYTHON" tools/verify.py "$folder" >"$tmp/out" 2>"$tmp/err"
    [ $? = 1 ] && grep -q 'word_contrast' "$tmp/err" && ok || bad 'verify.py passes a changed pos.json'
    cp "$tmp/first.json" "$folder/pos.json"
    sed '200s/,NOUN,\|,PROPN,\|,VERB,\|,ADP,\|,DET,\|,PUNCT,\|,ADJ,\|,NUM,\|,AUX,\|,PRON,\|,ADV,\|,PART,\|,CCONJ,\|,SCONJ,/,X,/' "$tmp/first.csv" >"$folder/pos_words.csv"
    "$PYTHON" tools/verify.py "$folder" >"$tmp/out" 2>"$tmp/err"
    [ $? = 1 ] && ok || bad 'verify.py passes a changed tag'
    cp "$tmp/first.csv" "$folder/pos_words.csv"
    if "$PYTHON" -c 'import pandas' 2>/dev/null; then
        works 'strata_results.py' "$PYTHON" tools/strata_results.py "$folder"
        says 'strata_results.py' 'words: '
    else
        skip 'strata_results.py: Python has no pandas'
    fi
else
    skip 'verify.py and strata_results.py: Python has no numpy'
fi
finish
