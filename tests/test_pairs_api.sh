#!/bin/bash
# test_pairs_api.sh: strata pairs --source api against tests/http_server.py, a chat endpoint on loopback that is slow, busy, cut off, or answers
# something else; what was got is never lost, and the key is written nowhere.
cd "$(dirname "$0")/.." || exit 1
set -u
. tests/cli.bash pairs-api
unset OPENAI_API_KEY STRATA_API_KEY

# The prompts need no server, no key and no model.
works 'dry run' "$STRATA" pairs --source api --dry_run --categories place,tense
for text in 'The cat sat on the hat.' 'She is very tired yesterday.' 'Nothing was sent.'; do
    if grep -qF "$text" "$tmp/out"; then ok; else bad "the prompts lack $text"; fi
done
refuses 2 '--api_model is missing' pairs --model_name $MODEL --source api --output "$tmp/x.jsonl"
refuses 2 'set OPENAI_API_KEY or STRATA_API_KEY' pairs --model_name $MODEL --source api --api_model m --output "$tmp/x.jsonl"
refuses 2 '--temperature: "hot"' pairs --model_name $MODEL --source api --api_model m --temperature hot --output "$tmp/x.jsonl"
export STRATA_API_KEY=sk-secret-4711
for base in http://example.org/v1 http://localhost.example.org/v1 http://127.0.0.1.example.org/v1; do
    refuses 2 'would send the key in the clear' pairs --model_name $MODEL --source api --api_model m --api_base $base --output "$tmp/x.jsonl"
done
refuses 2 'without user name and query' pairs --model_name $MODEL --source api --api_model m --api_base https://me:pw@example.org/v1 --output "$tmp/x.jsonl"

if ! command -v python3 >/dev/null 2>&1; then
    skip 'python3, which runs tests/http_server.py, is not here'
    finish
    exit
fi
mkfifo "$tmp/in"
python3 tests/http_server.py <"$tmp/in" >"$tmp/port" 2>/dev/null &
server=$!
exec 9>"$tmp/in"
trap 'exec 9>&-; kill $server 2>/dev/null; rm -rf "$tmp"' EXIT
for _ in $(seq 100); do [ -s "$tmp/port" ] && break; sleep 0.1; done
port=$(cat "$tmp/port")
get() { python3 -c 'import sys, urllib.request as u; sys.stdout.write(u.build_opener(u.ProxyHandler({})).open(sys.argv[1]).read().decode())' "http://127.0.0.1:$port$1"; }
api() { # api HOW OUTPUT OPTION...
    local how=$1 output=$2
    shift 2
    "$STRATA" pairs --model_name $MODEL --quiet --source api --api_model tiny --api_base "http://127.0.0.1:$port/chat/$how/v1" \
        --output "$tmp/$output.jsonl" "$@"
}
hits() { get "/hits/chat/$1/v1/chat/completions"; }
equal() { if [ "$2" = "$3" ]; then ok; else bad "$1: got $2, expected $3"; fi; }
holds() { if grep -qF -- "$2" "$1"; then ok; else bad "$1 has no line with $2"; fi; }
pairs_in() { wc -l <"$tmp/$1.jsonl" | tr -d ' '; }
# fails HOW STATUS TEXT OPTION...: the command exits with STATUS and one line that holds TEXT.
fails() {
    local how=$1 status=$2 text=$3
    shift 3
    api "$how" "$how" "$@" >"$tmp/out" 2>"$tmp/err"
    equal "$how exits" $? "$status"
    equal "$how: lines of errors" "$(wc -l <"$tmp/err" | tr -d ' ')" 1
    holds "$tmp/err" "$text"
    if grep -q secret "$tmp/err"; then bad "$how: the key is in the error"; else ok; fi
}

works good api good good --categories place,tense --per_category 30 --temperature 0.7
equal 'pairs' "$(pairs_in good)" 60
equal 'requests' "$(hits good)" 4
equal 'the key' "$(get /authorization)" 'Bearer sk-secret-4711'
holds "$tmp/good.jsonl" '"category": "tense", "template": "api_tense_after_that_0", "words": ["was", "is"]'
python3 - "$tmp/good" <<'END' && ok || bad 'what good left behind'
import json, sys
pairs = [json.loads(line) for line in open(sys.argv[1] + ".jsonl")]
meta = json.load(open(sys.argv[1] + ".meta.json"))
for p in pairs:
    differ = [i for i, (x, y) in enumerate(zip(p["ids_a"], p["ids_b"])) if x != y]
    assert differ == [p["edit_index"]] and len(p["ids_a"]) == len(p["ids_b"])
    assert (p["error_side"] == "b") == (p["category"] == "tense")
    if p["category"] == "tense":
        assert p["b"].encode()[p["onset_byte"]:].decode().startswith("r.") and p["onset_index"] > p["edit_index"]
assert meta["api_model"] == "tiny" and meta["temperature"] == 0.7 and meta["date"].endswith("Z")
assert "She is very tired yesterday." in meta["prompts"]["tense"] and "JSON" in meta["prompts"]["system"]
assert len(meta["replies"]) == 4 and meta["response_format"] == "json_schema"
first, second = [r for r in meta["replies"] if r["category"] == "place"]
assert "house/city" not in first["prompt"] and "used already" in second["prompt"]
assert json.loads(json.loads(second["reply"])["choices"][0]["message"]["content"])["pairs"][0]["category"] == "place"
END
if [ -e "$tmp/good.partial.jsonl" ]; then bad 'the partial file is left'; else ok; fi
works busy api busy busy --categories place --per_category 20
equal 'pairs after 429' "$(pairs_in busy) $(hits busy)" '20 2'
works flaky api flaky flaky --categories place --per_category 20
equal 'pairs after 500' "$(pairs_in flaky) $(hits flaky)" '20 2'
works no-schema api no-schema no-schema --categories place --per_category 40
equal 'pairs without schema' "$(pairs_in no-schema) $(hits no-schema)" '40 3'
holds "$tmp/no-schema.meta.json" '"response_format": "json_object"'
works plain api plain plain --categories place --per_category 20
equal 'pairs without response_format' "$(pairs_in plain) $(hits plain)" '20 3'
works fenced api fenced fenced --categories place --per_category 20
equal 'pairs out of prose' "$(pairs_in fenced)" 20
works cut api cut cut --categories place --per_category 19
equal 'pairs of a reply that is cut off' "$(pairs_in cut) $(hits cut)" '19 1'
works strange api strange strange --categories place --per_category 12
equal 'pairs among other things' "$(pairs_in strange)" 12
works wrong api wrong wrong --categories place --per_category 10
equal 'pairs of the category asked for' "$(pairs_in wrong)" 10
holds "$tmp/wrong.rejected.jsonl" 'the model wrote it as \"tense\", asked for \"place\"'
# There are 14 * 13 / 2 * 10 pairs to be had of 20 a request, then the same again: fewer are given, and it is said.
fails prose 1 '3 answers in a row hold no pair as JSON' --categories place
fails html 1 '3 answers in a row' --categories place
fails empty 1 '3 answers in a row' --categories place
fails refusal 1 '3 answers in a row' --categories place
equal 'requests of a refusal' "$(hits refusal)" 3

# A failure in the middle: what was got stays, the same command goes on, and the pairs are those of a run without failure.
fails dies-2 1 '30 pairs so far, kept in' --categories place,tense --per_category 30
[ -e "$tmp/dies-2.jsonl" ] && bad 'half a run wrote its pairs' || ok
printf '{"category": "place", "date": "20' >>"$tmp/dies-2.partial.jsonl" # as kill -9 leaves it
works 'going on' api dies-2 dies-2 --categories place,tense --per_category 30
equal 'requests of both' "$(hits dies-2)" 5
if cmp -s "$tmp/dies-2.jsonl" "$tmp/good.jsonl"; then ok; else bad 'a run that went on gives other pairs'; fi
# Another model's replies are not mixed in.
fails dies-1 1 '20 pairs so far' --categories place --per_category 30
api dies-1 dies-1 --categories place --per_category 30 --temperature 1 >"$tmp/out" 2>"$tmp/err"
equal 'another temperature' $? 2
holds "$tmp/err" 'replies of another endpoint, model or temperature'
# Interrupted while the server is silent.
"$STRATA" pairs --model_name $MODEL --quiet --source api --api_model tiny --api_base "http://127.0.0.1:$port/chat/late/v1" \
    --output "$tmp/late.jsonl" >"$tmp/out" 2>"$tmp/err" &
job=$!
for _ in $(seq 50); do [ "$(hits late)" = 1 ] && break; sleep 0.1; done
kill -TERM $job
wait $job
equal 'interrupted: exit' $? 130
[ -e "$tmp/late.partial.jsonl" ] && ok || bad 'interrupted: no partial file'
if grep -rq 'sk-secret' "$tmp"/*.json "$tmp"/*.jsonl; then bad 'the key stands in a file'; else ok; fi
finish
