#!/bin/bash
# test_seed_commands.sh: the three commands of the study that Strata replaces, their options as its README has them (only the device is the
# processor), on stand-ins of the same names: folders, files, and names that begin alike.
cd "$(dirname "$0")/.." || exit 1
. tests/cli.bash seed
case $STRATA in /*) ;; *) STRATA=$PWD/$STRATA ;; esac
mkdir -p "$tmp/models/meta-llama" "$tmp/datasets/wiki-text-2"
ln -s "$PWD/$MODEL" "$tmp/models/meta-llama/Meta-Llama-3-8B"
ln -s "$PWD/$MODEL" "$tmp/models/meta-llama/Meta-Llama-3-8B-Instruct"
head -30 $TEXT >"$tmp/datasets/wiki-text-2/test.txt"
cd "$tmp" || exit 1
unset HF_HOME HF_HUB_CACHE

for model in Meta-Llama-3-8B-Instruct Meta-Llama-3-8B; do
    works "the sweep of $model" "$STRATA" sweep --model_name meta-llama/$model \
        --dataset_type wiki-text-2 \
        --max_samples 1000 \
        --experiment removal \
        --output_dir results \
        --gpu_id cpu
    # By its name alone: neither by a prefix nor by the other model's.
    pos="pos --dataset_type wiki-text-2 --experiment removal --sample_size 1000 --model_name"
    if [ $model = Meta-Llama-3-8B ]; then
        works 'pos' "$STRATA" $pos Meta-Llama-3-8B
    else
        refuses 2 'there are: results/removal/meta_llama_Meta_Llama_3_8B_Instruct_wiki-text-2_n1000' $pos Meta-Llama-3-8B
    fi
done
base=results/removal/meta_llama_Meta_Llama_3_8B_wiki-text-2_n1000
instruct=results/removal/meta_llama_Meta_Llama_3_8B_Instruct_wiki-text-2_n1000
[ -s $base/pos.json ] && [ ! -e $instruct/pos.json ] && ok || bad 'pos read another folder'
works 'compare' "$STRATA" compare --json_files $base/ppl.json \
    $instruct/ppl.json \
    --experiment removal \
    --output_dir figures/comparisons
grep -q '"label": "Meta-Llama-3-8B"' figures/comparisons/compare.json &&
    grep -q '"label": "Meta-Llama-3-8B-Instruct"' figures/comparisons/compare.json && ok || bad 'the labels of compare.json'
[ -s $instruct/pos.json ] && ok || bad 'compare made no pos.json where there was none'
for ending in svg png pdf csv; do
    [ -s figures/comparisons/removal_layers.$ending ] && ok || bad "removal_layers.$ending is not there"
done
# Two organisations have a model of the name: both are listed, none is taken.
cp -r $base results/removal/other_Meta_Llama_3_8B_wiki-text-2_n1000
refuses 2 "2 results match, name one of these folders: $base, results/removal/other_" $pos Meta-Llama-3-8B
works 'the whole name decides' "$STRATA" $pos results/removal/other_Meta_Llama_3_8B_wiki-text-2_n1000
finish
