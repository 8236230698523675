#!/bin/bash
# numerics.sh MODEL_DIR TEXT [ROUNDS]: one removal sweep under --numerics fast, stable, exact and ref64, in turn, on the same windows with
# the same threads. Prints each round and the medians with their share of fast. Seconds are processor seconds (user + system) of the
# sweep less those of the same command's --dry_run: on a machine that others use too they vary less than tokens a second do.
set -eu
MODEL=$1 TEXT=$2 ROUNDS=${3:-3}
WINDOWS=${WINDOWS:-2} THREADS=${THREADS:-2} CONTEXT=${CONTEXT:-512} EXPERIMENT=${EXPERIMENT:-removal}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
TIMEFORMAT='%U %S'
sweep() {
    local numerics=$1
    shift
    build/strata sweep --model_name "$MODEL" --dataset_path "$TEXT" --protocol file --bos no --context "$CONTEXT" --max_samples "$WINDOWS" \
        --threads "$THREADS" --experiment "$EXPERIMENT" --numerics "$numerics" --output_dir "$out/$numerics" --force --quiet "$@" >/dev/null 2>"$out/err"
}
for round in $(seq "$ROUNDS"); do
    for numerics in fast stable exact ref64; do
        { time sweep "$numerics" --dry_run; } 2>"$out/dry"
        { time sweep "$numerics"; } 2>"$out/wet"
        tokens=$(sed -n 's/.*"variant_tokens_per_second": *\([0-9.eE+-]*\).*/\1/p' "$out/$numerics"/*/*/run.json | head -1)
        paste "$out/wet" "$out/dry" | awk -v n="$numerics" -v t="$tokens" '{printf "%-7s %8.2f s  %8.1f tokens/s a variant\n", n, $1 + $2 - $3 - $4, t}'
    done
done | tee "$out/log"
echo "medians, share of fast by processor seconds, by tokens a second:"
for numerics in fast stable exact ref64; do
    s=$(awk -v n="$numerics" '$1 == n {print $2}' "$out/log" | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}')
    t=$(awk -v n="$numerics" '$1 == n {print $4}' "$out/log" | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}')
    [ "$numerics" = fast ] && fast_s=$s fast_t=$t
    awk -v n="$numerics" -v s="$s" -v t="$t" -v fs="$fast_s" -v ft="$fast_t" \
        'BEGIN {printf "  %-7s %8.2f s %5.1f %%   %8.1f tokens/s %5.1f %%\n", n, s, 100 * fs / s, t, 100 * t / ft}'
done
