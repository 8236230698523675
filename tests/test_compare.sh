#!/bin/bash
# test_compare.sh: strata compare and strata report on the command line: refusals are one line with the right exit status, the seed's form of the command
# works on real sweeps, equal runs write equal files.
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash compare
DATA=tests/data/compare
# refuses_untouched STATUS TEXT ARGUMENT...: and nothing is written.
refuses_untouched() {
    refuses "$@" --output_dir "$tmp/refused"
    [ ! -e "$tmp/refused" ] || bad "strata $* is refused and writes"
}
# holds NAME FILE TEXT
holds() { if grep -qF -- "$3" "$2"; then ok; else bad "$1: $2 does not hold \"$3\""; fi; }

refuses_untouched 2 'expected two ppl.json or more' compare --json_files $DATA/a/ppl.json --experiment removal
refuses_untouched 2 '--json_files: a value is missing' compare --json_files --experiment removal
refuses_untouched 2 'expected two ppl.json or more' compare --experiment removal
refuses_untouched 1 "$DATA/none/ppl.json" compare --json_files $DATA/a/ppl.json $DATA/none/ppl.json --experiment removal
refuses_untouched 2 'experiment: expected exchange, found removal' compare --json_files $DATA/a/ppl.json $DATA/b/ppl.json --experiment exchange
refuses_untouched 2 'models are compared on the same rows only' compare --json_files $DATA/a/ppl.json $DATA/other_rows/ppl.json --experiment removal
refuses_untouched 2 '--depth' compare --json_files $DATA/a/ppl.json $DATA/b/ppl.json --depth shallow
refuses_untouched 2 'did you mean --json_files' compare --json_file $DATA/a/ppl.json

# A model of 12 layers and one of few, with another tokenizer, on the same rows: the command as the seed has it.
removal() {
    "$STRATA" sweep --model_name "$1" --dataset_path tools/demo/wikitext-2-excerpt.txt --max_samples "$2" --context 32 --experiment removal \
        --output_dir "$tmp/results" --tag "n$2" --quiet >/dev/null 2>"$tmp/err" || bad "sweep of $1"
}
# The demonstration model without its tokenizer's last merges: same weights, other tokens, so that most but not all bounds agree.
cp -r tools/demo/model "$tmp/stranger"
awk '/^    "merges": \[/ { inside = 1 }
     inside && /^      \[/ && ++n > 300 { last = 1 }
     last && /^    \]/ { last = 0; inside = 0 }
     last { next }
     inside && n == 300 && /^      \],/ { print "      ]"; next }
     { print }' tools/demo/model/tokenizer.json >"$tmp/stranger/tokenizer.json"
removal tools/demo/model 12
removal "$tmp/stranger" 12
removal tools/demo/model 10
A=$tmp/results/removal/model_n12_wikitext-2-excerpt_n12/ppl.json
B=$tmp/results/removal/stranger_n12_wikitext-2-excerpt_n12/ppl.json
C=$tmp/results/removal/model_n10_wikitext-2-excerpt_n10/ppl.json
refuses_untouched 2 '(12 and 10 rows)' compare --json_files "$A" "$C" --experiment removal
"$STRATA" compare --json_files "$A" "$B" --experiment removal --output_dir "$tmp/one" >"$tmp/out" 2>"$tmp/err" && ok || bad 'compare'
holds 'the table' "$tmp/out" 'bits/byte'
holds 'the table' "$tmp/out" 'Spearman'
holds 'the next command' "$tmp/out" 'strata report'
holds 'compare.json' "$tmp/one/compare.json" '"schema": "strata.compare.1"'
holds 'compare.json' "$tmp/one/compare.json" '"same_tokens": false'
for file in compare.csv removal_layers.svg removal_layers.png removal_layers.pdf removal_layers.csv removal_importance.svg; do
    if [ -s "$tmp/one/$file" ]; then ok; else bad "no $file"; fi
done
"$STRATA" compare --json_files "$A" "$B" --experiment=removal --output-dir "$tmp/two" --quiet >"$tmp/out" 2>"$tmp/err" && ok || bad 'again'
if diff -r "$tmp/one" "$tmp/two" >"$tmp/err"; then ok; else bad 'equal runs differ'; fi
pos=("${A%ppl.json}pos.json" "${B%ppl.json}pos.json") # made by the first comparison, and as good a name for a result
for file in "${pos[@]}"; do if [ -s "$file" ]; then ok; else bad "no $file"; fi; done
"$STRATA" compare --json_files "${pos[@]}" --experiment removal --output_dir "$tmp/by_pos" >"$tmp/out" 2>"$tmp/err" && ok || bad 'pos.json'
if cmp "$tmp/one/compare.csv" "$tmp/by_pos/compare.csv" >"$tmp/err"; then ok; else bad 'named by pos.json, compare.csv differs'; fi
"$STRATA" compare --json_files "$A" "$B" --depth absolute --lang ja --json --output_dir "$tmp/three" >"$tmp/out" 2>"$tmp/err" && ok || bad 'options'
holds '--json' "$tmp/out" '"depth": "absolute"'

# The paper's material of the same sweeps.
refuses_untouched 2 'expected a result folder' report
refuses_untouched 1 "$tmp/none/ppl.json" report "$tmp/none/ppl.json"
refuses_untouched 2 'expected en, ja or both' report "$A" --lang fr
"$STRATA" report "$(dirname "$A")" >"$tmp/out" 2>"$tmp/err" && ok || bad 'report'
holds 'the next command' "$tmp/out" 'pdflatex report.tex'
for file in README.md methods.en.md methods.ja.md setup.tex layers.tex layers.csv figures/layers_84mm.pdf figures/layers_174mm.svg; do
    if [ -s "$(dirname "$A")/report/$file" ]; then ok; else bad "report: no $file"; fi
done
"$STRATA" report "$A" "$B" --lang en --output_dir "$tmp/both" --quiet >"$tmp/out" 2>"$tmp/err" && ok || bad 'report of two'
holds 'report of two' "$tmp/both/setup.csv" 'result 2'

# The commands that are printed for copying do what they say, whatever the folders are called.
odd="$tmp/it's a \$HOME folder"
mkdir "$odd"
cp -r "$(dirname "$A")" "$odd/one"
cp -r "$(dirname "$B")" "$odd/two"
cp -r tests/data/diff_result "$odd/pairs a"
cp -r tests/data/diff_result "$odd/pairs b"
# copied COMMAND...: runs the command, then what it says comes next, with LaTeX's programs replaced by the question for their file.
copied() {
    local next root=$PWD
    "$STRATA" "$@" >"$tmp/out" 2>"$tmp/err" || bad "strata $*"
    next=$(sed -n 's/^next: *//p' "$tmp/out")
    if (
        cd "$tmp" || exit 1
        strata() { "$root/$STRATA" "$@" --lang en --quiet; }
        pdflatex() { [ -f "$1" ] && : >"$1.seen"; }
        eval "$next"
    ) >"$tmp/out" 2>"$tmp/err"; then ok; else bad "after strata $1: $next"; fi
}
copied compare --json_files "$odd/one/ppl.json" "$odd/two/ppl.json" --experiment removal --output_dir "$tmp/odd"
[ -s "$tmp/report/report.tex" ] && ok || bad 'the copied strata report wrote nothing'
copied compare --json_files "$odd/pairs a" "$odd/pairs b" --lang en --output_dir "$tmp/odd"
copied report "$odd/one" --lang en --output_dir "$odd/the paper"
copied report "$odd/pairs a" "$odd/pairs b" --lang en --output_dir "$odd/their papers"
[ -e "$odd/their papers/pairs_a_diff.tex.seen" ] && [ -e "$odd/their papers/pairs_b_diff.tex.seen" ] && ok || bad 'a document was left out'
"$STRATA" pos "$odd/one" >"$tmp/out" 2>"$tmp/err" && grep -qF "next: strata compare --json_files '$tmp/it'\\''s a \$HOME folder/one'/ppl.json" "$tmp/out" && ok || bad 'pos'
"$STRATA" pairs --model_name tools/demo/model --categories tense --per_category 5 --output "$odd/p.jsonl" >"$tmp/out" 2>"$tmp/err" &&
    grep -qF -- "--pairs '$tmp/it'\\''s a \$HOME folder/p.jsonl'" "$tmp/out" && ok || bad 'pairs'

finish
