#!/bin/bash
# test_pull.sh: `strata pull` against a hub on loopback that imitates the real one, faults included (tests/hub_server.py).
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash pull
if ! command -v python3 >/dev/null 2>&1; then
    skip 'no python3 to run a hub on loopback'
    finish
    exit
fi
mkdir "$tmp/repository"
cp $MODEL/config.json $MODEL/tokenizer.json $MODEL/tokenizer_config.json $MODEL/model.safetensors "$tmp/repository/"
mkfifo "$tmp/stop"
python3 tests/hub_server.py "$tmp/repository" <"$tmp/stop" >"$tmp/ports" &
server=$!
exec 9>"$tmp/stop"
trap 'exec 9>&-; kill $server 2>/dev/null; rm -rf "$tmp"' EXIT
for _ in $(seq 100); do [ -s "$tmp/ports" ] && break; sleep 0.1; done
read -r hub store <"$tmp/ports"
export HF_ENDPOINT=http://127.0.0.1:$hub HF_HUB_CACHE=$tmp/cache HF_HOME=$tmp/home
unset HF_TOKEN HF_HUB_OFFLINE HF_DATASETS_SERVER HF_TOKEN_PATH http_proxy HTTP_PROXY
ask() { python3 -c 'import sys, urllib.request; print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1]).read().decode())' "http://127.0.0.1:$hub/$1"; }
pull() { "$STRATA" pull --quiet "$@"; }
commit=0123456789abcdef0123456789abcdef01234567
layout=$tmp/cache/models--org--good

# A model, in the layout of the cache, and found by it.
works 'a list' pull --model org/good --dry_run
works 'nothing is written by a list' test ! -e "$tmp/cache"
works 'a model' pull --model org/good --part 1M --jobs 3
works 'the reference' test "$(cat "$layout/refs/main")" = $commit
hash=$(sha256sum "$tmp/repository/model.safetensors" | cut -d ' ' -f 1)
works 'weights by their hash' cmp "$layout/blobs/$hash" "$tmp/repository/model.safetensors"
works 'a link' test "$(readlink "$layout/snapshots/$commit/model.safetensors")" = "../../blobs/$hash"
for name in config.json tokenizer.json tokenizer_config.json; do
    works "$name" cmp "$layout/snapshots/$commit/$name" "$tmp/repository/$name"
done
works 'nothing else' test "$(ls "$layout/snapshots/$commit" | wc -l)" = 4
works 'nothing unfinished' test -z "$(find "$tmp/cache" -name '*.strata-*')"
works 'the model is found' "$STRATA" next --model_name org/good --text 'The captain of the' --top 3 --quiet
before=$(ask hits)
works 'a second time' pull --model org/good
works 'costs questions, no bytes' test $(($(ask hits) - before)) -le 7
works 'a revision' pull --model org/good --revision refs/pr/1
works 'its reference' test "$(cat "$layout/refs/refs/pr/1")" = $commit
works 'a commit' pull --model org/good --revision $commit
works 'as JSON' sh -c "$STRATA pull --model org/good --quiet --json | python3 -c 'import json, sys; assert json.load(sys.stdin)[\"commit\"] == \"$commit\"'"

# Faults of the network.
works 'answers that break off' pull --model org/cut --part 8M --jobs 4
works 'give the same bytes' cmp "$tmp/cache/models--org--cut/blobs/$hash" "$tmp/repository/model.safetensors"
works 'a busy hub' pull --model org/busy
works 'a store without ranges' pull --model org/norange --part 1M --jobs 4
works 'gives the same bytes' cmp "$tmp/cache/models--org--norange/blobs/$hash" "$tmp/repository/model.safetensors"
refuses 1 "expected sha256 $hash" pull --model org/wrong --quiet
works 'no wrong bytes stay' test ! -e "$tmp/cache/models--org--wrong/blobs/$hash"
works 'no snapshot claims them' test ! -e "$tmp/cache/models--org--wrong/refs/main"

# Cut off, then gone on with.
rm -rf "$tmp/cache/models--org--cut"
"$STRATA" pull --model org/cut --part 512K --jobs 1 --quiet >/dev/null 2>&1 &
sleep 0.25
kill -INT $! 2>/dev/null
wait $!
stopped=$?
works 'an interrupted pull says 130, or was done' test $stopped = 130 -o $stopped = 0
works 'goes on' pull --model org/cut --part 512K
works 'to the same bytes' cmp "$tmp/cache/models--org--cut/blobs/$hash" "$tmp/repository/model.safetensors"
# Parts that the journal names are not fetched again: one byte of the first is changed, the hash finds it.
partial=$tmp/cache/models--org--good/blobs/$hash
mv "$partial" "$partial.strata-partial"
parts=$((($(stat -c %s "$tmp/repository/model.safetensors") + 1048575) / 1048576))
printf '1%.0s' $(seq $parts) >"$partial.strata-parts"
before=$(ask hits)
works 'all parts are there' pull --model org/good --part 1M
works 'none is fetched' test $(($(ask hits) - before)) -le 7
mv "$partial" "$partial.strata-partial"
printf 'X' | dd of="$partial.strata-partial" bs=1 seek=5000 conv=notrunc status=none
printf '1%.0s' $(seq $parts) >"$partial.strata-parts"
refuses 1 'what was fetched is removed' pull --model org/good --part 1M --quiet
works 'fetched anew' pull --model org/good --part 1M

# What is chosen of a repository.
works 'the whole file, no shards' pull --model org/shards
works 'and nothing of other layouts' test "$(ls "$tmp/cache/models--org--shards/snapshots/$commit" | grep -c safetensors)" = 1
refuses 2 'choose one with --file: a-Q8_0.gguf a-Q4_0.gguf' pull --model org/ggufs
works 'one file' pull --model org/ggufs --file a-Q8_0.gguf
refuses 2 'there are a-Q8_0.gguf a-Q4_0.gguf' pull --model org/ggufs --file b.gguf
refuses 1 'no safetensors and no GGUF' pull --model org/escape
works 'nothing outside' test ! -e "$tmp/model.safetensors"

# Who may.
refuses 1 "accept its licence at $HF_ENDPOINT/org/gated, then put a read token" pull --model org/gated
HF_TOKEN=wrong refuses 1 'with the account of your token' pull --model org/gated
refuses 2 'or it is private' pull --model org/private
export HF_TOKEN=right
works 'a gated model' pull --model org/gated
works 'a private model' pull --model org/private
unset HF_TOKEN
mkdir -p "$tmp/home"
echo right >"$tmp/home/token"
rm -rf "$tmp/cache/models--org--private"
works 'by the login of huggingface_hub' pull --model org/private
works 'no token reached the store' test "$(ask leaks)" = 0
HF_TOKEN=s3cret refuses 1 'gated' pull --model org/gated
works 'no token is shown' sh -c "! grep -q s3cret '$tmp/err' '$tmp/out'"
rm "$tmp/home/token"

# Wrong usage.
HF_HUB_OFFLINE=1 refuses 2 'HF_HUB_OFFLINE' pull --model org/good
refuses 2 'no such model' pull --model nobody/nothing
refuses 2 'no revision "v9"' pull --model org/good --revision v9
refuses 2 'expected a hub id' pull --model ../../etc
refuses 2 'expected either' pull
HF_ENDPOINT=ftp://x refuses 2 'HF_ENDPOINT' pull --model org/good
HF_ENDPOINT=http://127.0.0.1:9 refuses 1 '127.0.0.1:9' pull --model org/good

# Rows of a data set.
rows=$tmp/datasets
works 'a data set' pull --dataset wiki-text-2 --output_dir "$rows"
works 'all its rows' test "$(wc -l <"$rows/wiki-text-2/test.jsonl")" = 257
works 'as they were' python3 - "$rows/wiki-text-2/test.jsonl" <<'END'
import json, sys
rows = [json.loads(line)["text"] for line in open(sys.argv[1], encoding="utf-8")]
assert rows[0] == " = Title 0 = \n" and rows[5] == "" and rows[8] == 'row 8 \u00e9 "quoted"\tand \u65e5\u672c\n', rows[:9]
END
refuses 2 'is there already' pull --dataset wiki-text-2 --output_dir "$rows"
works 'some rows' pull --dataset org/rows --config c --split train --max_samples 120 --output_dir "$rows"
works 'that many' test "$(wc -l <"$rows/rows/train.jsonl")" = 120
head -n 30 "$rows/rows/train.jsonl" >"$rows/rows/test.jsonl.strata-partial"
printf '{"text": "half a r' >>"$rows/rows/test.jsonl.strata-partial"
works 'goes on behind the last whole row' pull --dataset org/rows --config c --max_samples 120 --output_dir "$rows"
works 'the same rows' cmp "$rows/rows/train.jsonl" "$rows/rows/test.jsonl"
refuses 1 'row 150: the server has cut the text short' pull --dataset org/short --config c --output_dir "$rows" --quiet
works 'no file claims to be whole' test ! -e "$rows/short/test.jsonl"
refuses 1 'expected row 100' pull --dataset org/holes --config c --output_dir "$rows" --quiet
refuses 2 'no config "d"' pull --dataset org/rows --config d --split train --output_dir "$rows/d" --quiet
refuses 2 'expected one of: test validation train' pull --dataset wiki-text-2 --split dev
refuses 2 'expected wiki-text-2' pull --dataset wikitext
works 'a sweep finds it' env STRATA_DATA="$rows" "$STRATA" sweep --model_name $MODEL --dataset_type wiki-text-2 --max_samples 3 \
    --orders 0-11 --output_dir "$tmp/results" --quiet
finish
