#!/bin/bash
# test_serve.sh: `strata serve` over loopback: the API against its documentation, every error path, hostile clients, a class of forty, the
# static export (tests/serve_client.py, Python's standard library; a counted skip without python3).
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash serve
PYTHON=${PYTHON:-python3}
export PYTHONDONTWRITEBYTECODE=1

refuses 2 '--port' serve --port 70000
refuses 2 '--class' serve --class 501
refuses 2 '--token' serve --token 'a b'
refuses 2 'at least 16' serve --token short --host 0.0.0.0 --port 0
refuses 2 '--host' serve --host no.such.host.invalid --port 0
refuses 2 'no such file' serve --pairs no-such-file
refuses 2 'no-such-model' serve --model_name no-such-model --port 0

if ! command -v "$PYTHON" >/dev/null 2>&1; then
    skip 'the server is driven by python3, which is not installed'
    finish
    exit
fi
"$STRATA" sweep --model_name $MODEL --dataset_path $TEXT --max_samples 12 --context 48 --experiment removal --output_dir "$tmp/r" --quiet \
    >/dev/null 2>"$tmp/err" || bad 'a sweep to be explored'
"$PYTHON" tests/serve_client.py "$STRATA" $MODEL "$tmp" >"$tmp/log" 2>&1
status=$?
counts=$(tail -n 1 "$tmp/log" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
grep -v '^[0-9]* passed, [0-9]* failed$' "$tmp/log"
if [ -z "$counts" ]; then
    bad "serve_client.py ends with status $status"
else
    passed=$((passed + ${counts% *})) failed=$((failed + ${counts#* }))
fi
finish
