#!/bin/bash
# test_pairs_cli.sh: strata pairs on the command line: the templates, files of the user's own in every form, the sheet of a review, what is refused.
cd "$(dirname "$0")/.." || exit 1
set -u
. tests/cli.bash pairs
pairs() { "$STRATA" pairs --model_name $MODEL --quiet "$@"; }
# holds FILE TEXT: the file has a line with the text.
holds() { if grep -qF -- "$2" "$1"; then ok; else bad "$1 has no line with $2"; fi; }
# lines N FILE
lines() { local n; n=$(wc -l <"$2"); if [ "$n" = "$1" ]; then ok; else bad "$2 has $n lines, expected $1"; fi; }

# Templates: the same seed the same bytes; the reader of pairs.jsonl takes what is written.
works templates pairs --per_category 30 --output "$tmp/a/p.jsonl"
lines 300 "$tmp/a/p.jsonl"
holds "$tmp/out" "Next: strata diff --model_name $MODEL --pairs $tmp/a/p.jsonl"
works again pairs --per_category 30 --output "$tmp/b.jsonl"
if cmp -s "$tmp/a/p.jsonl" "$tmp/b.jsonl" && cmp -s "$tmp/a/p.rejected.jsonl" "$tmp/b.rejected.jsonl"; then ok; else bad "the same command gives other bytes"; fi
works seed pairs --per_category 30 --seed 1 --output "$tmp/c.jsonl"
cmp -s "$tmp/b.jsonl" "$tmp/c.jsonl" && bad "another seed gives the same pairs" || ok
works categories pairs --per_category 30 --categories tense,place --output "$tmp/d.jsonl"
if cmp -s <(grep -E '"category": "(tense|place)"' "$tmp/b.jsonl") "$tmp/d.jsonl"; then ok; else bad "a category depends on the others that are asked for"; fi
works json pairs --per_category 3 --json --output "$tmp/e.jsonl"
if cmp -s "$tmp/out" "$tmp/e.meta.json"; then ok; else bad "--json prints something else than meta.json"; fi
works first pairs --per_category 20 --categories subject --first_token --output "$tmp/first.jsonl"
if [ "$(grep -c '"edit_index": 0,' "$tmp/first.jsonl")" = 20 ]; then ok; else bad "--first_token edits other tokens"; fi
refuses 2 "is there already: --force" pairs --model_name $MODEL --output "$tmp/b.jsonl"
works force pairs --per_category 2 --force --output "$tmp/b.jsonl"
lines 20 "$tmp/b.jsonl"

# Templates of the user's own, and fewer than asked for.
mkdir "$tmp/mine"
printf 'category place\nerror none\nlist where\n  house; garden; street\nmine_1: we were all in the <{where}|{where}>.\n' >"$tmp/mine/mine.txt"
works own pairs --templates "$tmp/mine" --categories place --output "$tmp/mine.jsonl"
lines 3 "$tmp/mine.jsonl"
holds "$tmp/out" "place: 3 of 500: 1 of 1 templates have no further sentence"
holds "$tmp/mine.meta.json" '"shortage": "1 of 1 templates'
echo 'mine_2: no edit at all here.' >>"$tmp/mine/mine.txt"
refuses 2 'line 6: in the template "mine_2": no edit' pairs --model_name $MODEL --templates "$tmp/mine" --output "$tmp/f.jsonl"
refuses 2 '--templates' pairs --model_name $MODEL --templates "$tmp/none" --output "$tmp/f.jsonl"

# A table as a spreadsheet writes it: byte order mark, CRLF, quotes, a field less.
printf '\xef\xbb\xbfcategory,a,b,error_side,onset_word,other\r\n' >"$tmp/own.csv"
printf 'tense,"She was here, with us, yesterday.","She is here, with us, yesterday.",b,yesterday,x\r\n' >>"$tmp/own.csv"
printf 'subject,She was in the house.,He was in the house.\r\n' >>"$tmp/own.csv"
printf 'tense,They were here.,They are here.\r\n' >>"$tmp/own.csv"
printf 'tenses,They were there.,They are there.,b\r\n' >>"$tmp/own.csv"
printf 'place,We were in the house.,We were not in the house.\r\n' >>"$tmp/own.csv"
printf 'subject,He was in the house.,She was in the house.\r\n' >>"$tmp/own.csv"
printf 'subject,,She was in the house.\r\n' >>"$tmp/own.csv"
printf 'place,They were in the house.,They were in the city.,b\r\n' >>"$tmp/own.csv"
printf 'tense,He was there with her.,He is there with her.,b,yesterday\r\n' >>"$tmp/own.csv"
works 'a table' pairs --source "$tmp/own.csv" --output "$tmp/own.jsonl"
lines 2 "$tmp/own.jsonl"
holds "$tmp/own.jsonl" '"category": "tense", "template": "row_2", "words": ["was", "is"], "edit_index": 1,'
holds "$tmp/own.jsonl" '"error_side": "b", "onset_byte": 30}'
holds "$tmp/own.jsonl" '"words": ["She", "He"], "edit_index": 0, "onset_index": null'
lines 7 "$tmp/own.rejected.jsonl"
for reason in 'error_side \"\": expected a or b' 'no category \"tenses\"' 'tokens in a' 'the same two sentences stand above' '\"a\" is missing' \
    'has no error side' 'the onset \"yesterday\" is not in the ungrammatical sentence'; do
    holds "$tmp/own.rejected.jsonl" "$reason"
done
# Semicolons and tabs; a category for all.
printf 'good;bad\nThey were here.;They is here.\n' >"$tmp/semi.csv"
works semicolons pairs --source "$tmp/semi.csv" --category number --output "$tmp/semi.jsonl"
holds "$tmp/semi.jsonl" '"error_side": "b"'
printf 'a\tb\nThey were here, now.\tThey are here, now.\n' >"$tmp/tab.tsv"
works tabs pairs --source "$tmp/tab.tsv" --category negation --output "$tmp/tab.jsonl"
lines 1 "$tmp/tab.jsonl"
# BLiMP
cat >"$tmp/blimp.jsonl" <<'END'
{"sentence_good": "They were here.", "sentence_bad": "They was here.", "linguistics_term": "subject_verb_agreement", "UID": "u1", "one_prefix_method": true, "pairID": "0"}
{"sentence_good": "They were there.", "sentence_bad": "They was there.", "linguistics_term": "island_effects", "UID": "u2", "one_prefix_method": true, "pairID": "1"}
END
works BLiMP pairs --source "$tmp/blimp.jsonl" --output "$tmp/bl.jsonl"
holds "$tmp/bl.jsonl" '"category": "number", "template": "u1", "words": ["were", "was"], "edit_index": 1, "onset_index": 1'
holds "$tmp/bl.rejected.jsonl" 'no category \"island_effects\"'
# What strata pairs wrote is a source too, and comes back as it was.
works 'its own file' pairs --source "$tmp/a/p.jsonl" --output "$tmp/back.jsonl"
if cmp -s "$tmp/a/p.jsonl" "$tmp/back.jsonl"; then ok; else bad "pairs.jsonl read back differs"; fi

# A sheet: written, filled in, read.
works 'sheet written' pairs --per_category 10 --categories place --review "$tmp/sheet.csv" --output "$tmp/r.jsonl"
lines 11 "$tmp/sheet.csv"
sed -i -e '2s/^,/n,"not, good"/' -e '3s/^,/y,/' "$tmp/sheet.csv"
works 'sheet read' pairs --per_category 10 --categories place --review "$tmp/sheet.csv" --output "$tmp/r.jsonl" --force
lines 9 "$tmp/r.jsonl"
holds "$tmp/r.rejected.jsonl" '"reason": "refused in review: not, good"'
holds "$tmp/out" "1 pairs accepted, 1 refused, 8 without a decision, 0 not on the sheet"
holds "$tmp/out" "place: 9 of 10: 1 refused in review."
sed -i '4s/^,/maybe,/' "$tmp/sheet.csv"
refuses 2 'line 4: accept is "maybe", expected yes, no, or nothing' pairs --model_name $MODEL --quiet --per_category 10 --categories place \
    --review "$tmp/sheet.csv" --output "$tmp/r.jsonl" --force

# What cannot be.
refuses 2 '--model_name is missing' pairs --output "$tmp/x.jsonl"
refuses 2 'expected a name that ends in .jsonl' pairs --model_name $MODEL --output "$tmp/x.json"
refuses 2 '--categories: "tens"' pairs --model_name $MODEL --categories tens --output "$tmp/x.jsonl"
refuses 2 'expected templates, api, or a .csv' pairs --model_name $MODEL --source template --output "$tmp/x.jsonl"
refuses 2 "expected the columns' names" pairs --model_name $MODEL --source $TEXT --output "$tmp/x.jsonl"
printf 'a,b\n"open\n' >"$tmp/bad.csv"
refuses 1 'line 2: a quote that is not closed' pairs --model_name $MODEL --source "$tmp/bad.csv" --output "$tmp/x.jsonl"
printf '{"a": "x"\n' >"$tmp/bad.jsonl"
refuses 1 'bad.jsonl: line 1' pairs --model_name $MODEL --source "$tmp/bad.jsonl" --output "$tmp/x.jsonl"
printf 'a,b\nsame words.,same words.\n' >"$tmp/none.csv"
refuses 1 'no pair holds under the tokenizer' pairs --model_name $MODEL --source "$tmp/none.csv" --category place --quiet --output "$tmp/x.jsonl"
[ -e "$tmp/x.jsonl" ] && bad "a failed run left a file of pairs" || ok
finish
