#!/bin/bash
# test_cli.sh: the command line as a user meets it: every refusal is one line with the right exit status, a sweep that is killed
# goes on to the identical ledger, another run's folder is refused, a budget is kept.
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash cli

refuses 2 'unknown command' frobnicate
refuses 2 'did you mean --max_samples' sweep --max_sample 3
refuses 2 '`strata help tag` lists the options' tag --fine
refuses 2 'a value is missing' sweep --model_name
refuses 2 '--model_name: a value is missing' sweep --model_name --max_samples 3
refuses 2 '--order: the value is empty' next --model_name $MODEL --text a --order ''
refuses 2 'is too large' next --model_name $MODEL --text a --seed 99999999999999999999
refuses 2 'gives no token' next --model_name $MODEL --text ''
refuses 2 '--model_name is missing' sweep --dataset_path "$TEXT"
refuses 2 'expected a whole number' sweep --model_name $MODEL --max_samples many
refuses 2 'expected a size' sweep --model_name $MODEL --memory lots
refuses 2 'excludes --experiment' sweep --model_name $MODEL --dataset_path "$TEXT" --experiment removal --orders 0-3 --output_dir "$tmp/r"
refuses 2 'unknown "nonsense"' sweep --model_name $MODEL --dataset_path "$TEXT" --experiment nonsense --output_dir "$tmp/r"
refuses 2 'the model has 12 layers' sweep --model_name $MODEL --dataset_path "$TEXT" --orders 0-12 --output_dir "$tmp/r"
refuses 2 'expected at least' sweep --model_name $MODEL --dataset_path "$TEXT" --memory 4M --output_dir "$tmp/r"
refuses 2 'is not served' next --model_name $MODEL --text a --numerics exact --dtype bf16
refuses 1 '--gpu_id cpu' next --model_name $MODEL --text a --gpu_id 0
refuses 2 'strata pull' sweep --model_name $MODEL --dataset_type bookcorpus --output_dir "$tmp/r"
"$STRATA" next --model_name no/such-model --text a >"$tmp/out" 2>"$tmp/err"
[ $? != 0 ] && [ "$(wc -l <"$tmp/err")" = 1 ] && ok || bad 'an unknown model'
: >"$tmp/empty.txt"
printf 'good line\nbad \377 line\n' >"$tmp/bad.txt"
printf '{"ids":[1,2,3]}\n{"ids":[1,99999]}\n' >"$tmp/ids.jsonl"
"$STRATA" sweep --model_name $MODEL --dataset_path "$tmp/empty.txt" --output_dir "$tmp/r" >"$tmp/out" 2>"$tmp/err"
[ $? != 0 ] && [ "$(wc -l <"$tmp/err")" = 1 ] && ok || bad 'an empty data set'
refuses 1 'line 2' sweep --model_name $MODEL --dataset_path "$tmp/bad.txt" --output_dir "$tmp/r"
refuses 1 '99999' sweep --model_name $MODEL --dataset_path "$tmp/ids.jsonl" --output_dir "$tmp/r"
refuses 1 '/proc/' sweep --model_name $MODEL --dataset_path "$TEXT" --max_samples 2 --output_dir /proc/nowhere
cp -r $MODEL "$tmp/nan"
printf '\300\177' | dd of="$tmp/nan/model.safetensors" bs=1 seek=11000000 conv=notrunc 2>/dev/null
refuses 1 'NaN or an infinity' sweep --model_name "$tmp/nan" --dataset_path "$TEXT" --max_samples 2 --output_dir "$tmp/r" --quiet
head -c 5000000 $MODEL/model.safetensors >"$tmp/nan/model.safetensors"
refuses 1 'model.safetensors' sweep --model_name "$tmp/nan" --dataset_path "$TEXT" --max_samples 2 --output_dir "$tmp/r" --quiet

works 'help' "$STRATA" help
# In a narrow terminal the same words, broken at spaces; commands to type stay whole.
if script -qec true /dev/null >/dev/null 2>&1; then
    for page in '' sweep pairs diff orders; do
        "$STRATA" help $page >"$tmp/page"
        script -qec "stty cols 72; '$STRATA' help $page" /dev/null </dev/null | tr -d '\r' >"$tmp/narrow"
        cmp -s <(tr -s ' \n' '\n' <"$tmp/page") <(tr -s ' \n' '\n' <"$tmp/narrow") && ok || bad "help $page has other words in 72 columns"
        [ "$(grep -v '^  strata' "$tmp/narrow" | awk 'length($0) > 72 && !/^ +--max_samples/' | wc -l)" = 0 ] && ok || bad "help $page in 72 columns: a longer line"
        [ "$(grep '^  strata [a-z]* [^ ]' "$tmp/page")" = "$(grep '^  strata [a-z]* [^ ]' "$tmp/narrow")" ] && ok || bad "help $page: a command is broken"
    done
else
    skip 'help in a narrow terminal: no script(1) here'
fi
works 'next' "$STRATA" next --model_name $MODEL --text "The captain" --order 0-4,6-11 --json
works 'trace' "$STRATA" trace --model_name $MODEL --text "The captain" --output "$tmp/t.safetensors"
cp "$tmp/t.safetensors" "$tmp/earlier"
(ulimit -f 8 && exec "$STRATA" trace --model_name $MODEL --text "The captain of the ship" --output "$tmp/t.safetensors") >"$tmp/out" 2>"$tmp/err"
[ $? = 1 ] && cmp -s "$tmp/t.safetensors" "$tmp/earlier" && [ ! -e "$tmp/t.safetensors.part" ] && ok || bad 'a trace that finds no room'
works 'inspect' "$STRATA" inspect --model_name $MODEL --json
printf '{"text":"a b"}\n\n{"ids":[1],"text":"c"}\n' >"$tmp/rows.jsonl"
works 'tokenize' "$STRATA" tokenize --model_name $MODEL --file "$tmp/rows.jsonl" --jsonl --json
[ "$(grep -c '^{"ids":\[.*"pieces":.*"spans":' "$tmp/out")" = 2 ] && ok || bad 'two rows of tokens'
cp "$tmp/out" "$tmp/tokens"
"$STRATA" tokenize --model_name $MODEL --file <(cat "$tmp/rows.jsonl") --jsonl --json >"$tmp/out" 2>"$tmp/err"
cmp -s "$tmp/out" "$tmp/tokens" && ok || bad 'rows from a pipe'
works 'every protocol' "$STRATA" sweep --model_name $MODEL --dataset_path "$TEXT" --max_samples 3 --context 64 --protocol all --output_dir "$tmp/p"
printf 'One short line.\n' >"$tmp/short.txt"
works 'every protocol of a text shorter than a window' "$STRATA" sweep --model_name $MODEL --dataset_path "$tmp/short.txt" --protocol all --output_dir "$tmp/p"
grep -q '^concat, bos no: left out: ' "$tmp/err" && [ "$(tail -n 2 "$tmp/p/protocols/model_short_n1000/protocols.json" | tr -d ' \n' | tail -c 2)" = '}]' ] && ok || bad 'protocols.json of a short text'


# An uninterrupted sweep, and one killed again and again: identical ledgers and results.
sweep="$STRATA sweep --model_name $MODEL --dataset_path $TEXT --max_samples 40 --context 128 --experiment exchange --memory 40M --quiet"
works 'a sweep' $sweep --output_dir "$tmp/whole"
kills=0
for try in $(seq 60); do
    $sweep --output_dir "$tmp/killed" >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    sleep "0.$((RANDOM % 5 + 2))"
    [ "$try" -le 12 ] && kill -9 $pid 2>/dev/null && kills=$((kills + 1))
    wait $pid 2>/dev/null && break
done
folder=exchange/model_wikitext-2-excerpt_n40
for file in ledger.safetensors ppl.json ppl.csv rows.jsonl figures/layers.svg; do
    cmp -s "$tmp/whole/$folder/$file" "$tmp/killed/$folder/$file" && ok || bad "$file differs after $kills kills"
done
[ "$kills" -gt 0 ] && ok || bad 'no sweep was killed'

# SIGINT saves, says how to go on, exits 130.
$sweep --output_dir "$tmp/int" >"$tmp/out" 2>"$tmp/err" &
pid=$!
sleep 0.4
kill -INT $pid
wait $pid
status=$?
[ $status = 130 ] && grep -q 'to go on: .*--output_dir' "$tmp/err" && ok || bad "SIGINT: exit $status"

yes 'The cat sat on the mat.' | head -c 20000000 >"$tmp/long.txt"
"$STRATA" tokenize --model_name $MODEL --file "$tmp/long.txt" >/dev/null 2>"$tmp/err" &
pid=$!
sleep 0.4
kill -INT $pid
wait $pid
status=$?
[ $status = 130 ] && ok || bad "SIGINT where nothing is written: exit $status"
"$STRATA" audit --model_name $MODEL --text "$(head -c 3000 "$TEXT")" --output "$tmp/audit.json" >"$tmp/out" 2>"$tmp/err" &
pid=$!
sleep 0.4
kill -INT $pid
wait $pid
status=$?
[ $status = 130 ] && [ ! -e "$tmp/audit.json" ] && ok || bad "SIGINT in an audit: exit $status"

works 'a finished sweep again' $sweep --output_dir "$tmp/whole"
refuses 2 '--force' sweep --model_name $MODEL --dataset_path $TEXT --max_samples 40 --context 64 --experiment exchange --quiet --output_dir "$tmp/whole"

finish
