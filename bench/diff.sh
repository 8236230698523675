#!/bin/sh
# diff.sh MODEL_DIR PAIRS.jsonl [ROUNDS]: differences of pairs by Strata (plain analysis, and with all controls) and by transformers'
# batched hidden states, in turn, on the same pairs with the same threads; prints each round and the medians. The window is the pairs' passes
# with all their sums; loading, the corpus for sigma and writing are outside on both sides. MODEL_DIR is a Hugging Face directory
# (bench/make_smollm2_hf.py makes one); PYTHON must have torch and transformers, as for bench/sweep.sh.
set -eu
MODEL=$1 PAIRS=$2 ROUNDS=${3:-3}
PYTHON=${PYTHON:-python3} THREADS=${THREADS:-2}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
strata() {
    build/strata diff --model_name "$MODEL" --pairs "$PAIRS" --bos no --controls "$1" --threads "$THREADS" --output_dir "$out/$1" \
        --sigma_windows 8 --lens_pairs 1 --floor_pairs 2 --no_figures --force --quiet >/dev/null
    "$PYTHON" -c 'import json, sys
t = json.load(open(sys.argv[1] + "/run.json"))["timing"]
print("%-14s %8.1f pairs/s  %7.2f a CPU second  %6.1f GFLOP/s  peak %6.0f MiB" % (sys.argv[2], t["pairs_per_second"], t["pairs_per_cpu_second"], t["gflops_per_second"], t["peak_resident_bytes"] / 2**20))' "$out/$1" "strata $1"
}
for round in $(seq "$ROUNDS"); do
    strata none
    "$PYTHON" bench/peer_diff.py "$MODEL" "$PAIRS" --threads "$THREADS" --check "$out/none" 2>/dev/null |
        "$PYTHON" -c 'import json, sys
t = json.load(sys.stdin)
print("%-14s %8.1f pairs/s  %7.2f a CPU second  %15s peak %6.0f MiB  largest relative difference %.2g" % ("transformers", t["pairs_per_second"], t["pairs_per_cpu_second"], "", t["peak_mib"], t["largest_relative_difference"]))'
    strata all
done | tee "$out/log"
echo "medians:"
for name in "strata none" transformers "strata all"; do
    grep "^$name" "$out/log" | sed "s/^$name//" | awk '{print $1}' | sort -n | awk -v n="$name" '{v[NR] = $1} END {print "  " n ": " v[int((NR + 1) / 2)] " pairs/s"}'
done
