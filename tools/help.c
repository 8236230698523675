/* help.c: help texts, each with commands that can be typed as they are. */
#include "tools/help.h"

#include <string.h>

typedef struct Topic {
    const char *name, *text;
} Topic;

static const char overview[] =
    "Strata takes transformer language models apart layer by layer.\n"
    "\n"
    "  strata sweep     remove or exchange layers, measure next-word prediction\n"
    "  strata compare   results of several models over each other\n"
    "  strata report    tables, figures and methods text of a result folder, for a paper\n"
    "  strata merge     join the shards of a sweep that ran as several processes\n"
    "  strata status    how far the runs below a folder are\n"
    "  strata pos       the change by part of speech, from a finished sweep\n"
    "  strata pairs     sentence pairs that differ in one token, verified under the model's tokenizer\n"
    "  strata trace     residual streams of a text at every step, to safetensors\n"
    "  strata audit     every operation against f64, in a dump of another implementation\n"
    "  strata serve     the lab in the browser: a live model, and the results of the studies\n"
    "  strata next      the next-word table and the logit lens of a text\n"
    "  strata inspect   what a model is: shapes, dtypes, bytes, FLOPs, traits\n"
    "  strata tokenize  ids, pieces and byte spans\n"
    "  strata tag       part-of-speech tags of English text\n"
    "  strata pull      get a model or a data set from the hub\n"
    "  strata help      this page; `strata help COMMAND`, `strata help orders`\n"
    "\n"
    "Try it (the demonstration model is in tools/demo/model):\n"
    "  strata next --model_name tools/demo/model --text \"The captain of the\"\n"
    "  strata sweep --model_name tools/demo/model --dataset_path tools/demo/wikitext-2-excerpt.txt --experiment exchange\n"
    "\n"
    "Options of every command that runs a model:\n"
    "  --model_name NAME   hub id found in models/ or the Hugging Face cache, a directory, or a .gguf file\n"
    "  --gpu_id auto|cpu|N --dtype f32 --numerics fast|stable|exact|ref64 --threads N --memory 8G\n"
    "  --cpu scalar|avx2|avx512|native   limits the vector instructions (STRATA_CPU does the same)\n"
    "  --bos auto|yes|no --context N --rope hf32|real --seed N --revision R --quiet --json\n"
    "Hyphens and underscores in options mean the same. Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.\n";

static const Topic topics[] = {
    {"sweep",
     "strata sweep: run every order of an experiment over a data set\n"
     "\n"
     "  strata sweep --model_name meta-llama/Meta-Llama-3-8B --dataset_type wiki-text-2 \\\n"
     "               --max_samples 1000 --experiment removal --output_dir results --gpu_id 0\n"
     "  strata sweep --model_name models/gpt2 --dataset_path my.txt --orders \"0-5,7-11\"\n"
     "  strata sweep --model_name m.gguf --dataset_type wiki-text-2 --protocol all\n"
     "\n"
     "  --dataset_type wiki-text-2|wiki-text-103|gpt2-output-dataset|bookcorpus\n"
     "  --dataset_path FILE   .txt, .jsonl (field text, or ids), either .gz, or a .zip holding one\n"
     "  --split test          with --dataset_type: $STRATA_DATA/NAME/SPLIT.*, then datasets/NAME/SPLIT.*\n"
     "  --max_samples 1000    rows (windows under concat and file); --sample_size is the same\n"
     "  --experiment E        removal (default), exchange, block:N, replace, repeat, reverse, shuffle:K, attn-removal,\n"
     "                        mlp-removal, parallel:N, greedy:N (N stages: each removes one more layer; orders\n"
     "                        are named greedy_STAGE_LAYER; even windows choose, odd ones are reported)\n"
     "  --orders SPEC|FILE    orders of your own instead (see `strata help orders`)\n"
     "  --protocol rows|concat|file|all   how text becomes windows; all: the baseline under each, side by side\n"
     "  --schedule tree|naive naive: the loop everybody writes, for comparison\n"
     "  --shard K/N           the K-th of N parts, for several processes or machines; under mpirun or srun they are\n"
     "                        taken from the launcher. Then: strata merge FOLDER\n"
     "  --output_dir results  --tag NAME  --dry_run (estimate and stop)  --force (start over)\n"
     "\n"
     "Writes OUTPUT_DIR/EXPERIMENT/MODEL_DATASET_nN/: ppl.json, ppl.csv, ledger.safetensors, rows.jsonl, run.json, figures/.\n"
     "Interrupted, the same command goes on where it was.\n"},
    {"merge", "strata merge: the finished shards of a sweep become the whole\n"
              "\n"
              "  strata sweep ... --shard 1/2 & strata sweep ... --shard 2/2 & wait\n"
              "  mpirun -n 8 strata sweep ...            (the same; K and N come from the launcher)\n"
              "  strata merge results/removal/gpt2_wiki-text-2_n1000\n"
              "\n"
              "Names the result folder that holds shard_K_of_N, or the shards one by one. Model and data are found again by\n"
              "what the shards' run.json says. With --numerics stable or exact the ledger is the unsharded one to the bit.\n"
              "  --model_name NAME   where the model lies here, if elsewhere    --force (start over)\n"},
    {"status", "strata status: how far the runs below a folder are\n"
               "\n"
               "  strata status results            (--json for programs)\n"
               "\n"
               "Reads run.json and the ledger's journal only, also of runs on another machine.\n"},
    {"compare",
     "strata compare: results of several models laid over each other\n"
     "\n"
     "  strata compare --json_files results/removal/A_wiki-text-2_n1000/ppl.json results/removal/B_wiki-text-2_n1000/ppl.json "
     "\\\n"
     "                 --experiment removal --output_dir figures/comparisons\n"
     "\n"
     "  --json_files A B ...  2 to 8 ppl.json or pos.json (or their folders) of one experiment on the same rows;\n"
     "                        the pos.json beside a ppl.json is read too, and made where it is absent\n"
     "  --experiment E        must be that of all files; block:N may stand beside removal (an equal share of the depth)\n"
     "  --depth absolute|relative   the axis: layers by number, or from 0 (first) to 1 (last); relative where depths differ\n"
     "  --output_dir figures/comparisons  --lang en|ja (captions)  --json\n"
     "\n"
     "Models with the same token ids are compared in nats per token; with different tokenizers only in bits per byte\n"
     "and loss per word, on the bytes that every model predicted (read from the ledger.safetensors beside ppl.json).\n"
     "Writes compare.json, compare.csv, EXPERIMENT_layers, _tags, _importance, _correlation (.svg, .png, .pdf, .csv).\n"},
    {"report",
     "strata report: the paper's material of result folders\n"
     "\n"
     "  strata report results/removal/meta_llama_Meta_Llama_3_8B_wiki-text-2_n1000\n"
     "  strata report results/removal/A_wiki-text-2_n1000 results/removal/B_wiki-text-2_n1000 --output_dir report\n"
     "\n"
     "  --output_dir DIR      FOLDER/report for one folder, report for several\n"
     "  --lang en|ja|both     both (default)\n"
     "\n"
     "Writes setup, layers and tags as .tex (booktabs) and .csv, methods.en.md and methods.ja.md filled in from run.json,\n"
     "figures at 84 and 174 mm, report.tex that shows all of it, README.md that lists it. Run `strata pos` first for tags.\n"},
    {"pos",
     "strata pos: the change of next-word prediction by part of speech\n"
     "\n"
     "  strata pos --dataset_type wiki-text-2 --experiment removal --sample_size 1000 --model_name Meta-Llama-3-8B\n"
     "  strata pos --model_name results/removal/model_wiki-text-2_n1000 --fine --lang ja\n"
     "\n"
     "  --model_name NAME     as swept (a hub id, a path), its part after the last \"/\", the slug of the result's folder, or\n"
     "                        that folder's path; always the whole name. Several results that match are listed\n"
     "  --dataset_type, --dataset_path, --experiment, --output_dir   as given to `strata sweep`\n"
     "  --sample_size 1000    --max_samples is the same\n"
     "  --gold FILE.conllu    its tags instead of the built-in tagger's; its words must spell the rows\n"
     "  --fine                Penn's tags too\n"
     "  --lang en|ja          captions of figures\n"
     "\n"
     "Reads the sweep's ledger; the model is not run again. Counted are words of body rows without <unk>, scored whole, with a "
     "token\n"
     "of their own. Writes beside ppl.json: pos.json, pos.csv, pos_words.csv (every word, its tag and its tokens), "
     "figures/pos_*.\n"
     "Python reads it all with tools/strata_results.py; tools/verify.py recomputes it.\n"},
    {"orders", "Orders as text\n"
               "\n"
               "  0-31                 the intact order of 32 layers      31-0              reversed\n"
               "  0-11,13-31           layer 12 removed                   0-11,13,12,14-31  layers 12 and 13 exchanged\n"
               "  0-5,6x3,7-31         layer 6 three times (6*3 too)      0-9,10.attn,11-31 only the attention of 10\n"
               "  0-9,10+11+12,13-31   a parallel group, (10|11|12) too: the mean of the members' outputs\n"
               "  shuffle(8-23,seed=1) layers 8 to 23 permuted (PCG64, Fisher-Yates)\n"
               "\n"
               "  order   = [ term { \",\" term } ] ;\n"
               "  term    = range | repeat | group | shuffle ;\n"
               "  range   = number \"-\" number ;\n"
               "  repeat  = member [ (\"x\" | \"*\") number ] ;\n"
               "  group   = member \"+\" member { \"+\" member } | \"(\" member { \"|\" member } \")\" ;\n"
               "  member  = number [ \".attn\" | \".mlp\" ] ;\n"
               "  shuffle = \"shuffle(\" number \"-\" number [ \",\" \"seed=\" number ] \")\" ;\n"
               "\n"
               "A file of orders holds one a line, \"spec\" or \"name: spec\"; # begins a comment.\n"},
    {"pairs",
     "strata pairs: pairs of sentences that differ in one token\n"
     "\n"
     "  strata pairs --model_name tools/demo/model --output pairs.jsonl\n"
     "  strata pairs --model_name MODEL --categories tense,article --per_category 2000 --seed 7 --output errors.jsonl\n"
     "  strata pairs --model_name MODEL --source mine.csv --category number --output mine.jsonl\n"
     "  strata pairs --model_name MODEL --categories place --review sheet.csv    (fill the sheet in, then again with --force)\n"
     "\n"
     "  --model_name NAME     whose tokenizer verifies the pairs: as many tokens, one that differs. No weights are read\n"
     "  --source templates    built-in English templates (default; offline, the same for the same --seed)\n"
     "  --templates DIR       your own instead: copy experiments/pairs, whose README.md says how they are written\n"
     "  --categories A,B      of subject, place, adjective, tense, article, article_choice, preposition, number, negation, "
     "spelling\n"
     "  --per_category 500    fewer where the sentences are used up; the reason is said, nothing is padded\n"
     "  --source FILE         .csv, .tsv or .jsonl with a and b (or BLiMP's sentence_good and sentence_bad), and category, "
     "error_side\n"
     "                        (a, b, none), template, onset_word as far as they are known; pairs.jsonl of another model too\n"
     "  --category NAME       of a file's rows without one\n"
     "  --review SHEET.csv    where it is absent it is written; filled in, what has n in the column accept is left out\n"
     "  --first_token         pairs whose first token is the edit (an attention sink), a class of its own\n"
     "  --output pairs.jsonl  --force (write it anew)\n"
     "\n"
     "Writes OUTPUT (a, b, category, template, words, edit_index, onset_index, ids_a, ids_b, error_side; indices without "
     "BOS),\n"
     "STEM.rejected.jsonl (what was refused, and why) and STEM.meta.json. Next: strata diff --pairs OUTPUT.\n"},
    {"trace",
     "strata trace: residual streams of one text at every step of an order\n"
     "\n"
     "  strata trace --model_name tools/demo/model --text \"The cat sat on the mat.\" --output cat.safetensors\n"
     "  strata trace --model_name tools/demo/model --ids 5,6,7 --order \"0-4,6-11\"\n"
     "\n"
     "Tensors: blocks.N.hook_resid_pre, _mid, _post and ln_final.hook_normalized [T, D], nll [T-1], ids [T]. N counts\n"
     "positions in the order. In Python: safetensors.numpy.load_file(\"cat.safetensors\").\n"},
    {"audit",
     "strata audit: every operation against f64\n"
     "\n"
     "  strata audit --model_name tools/demo/model --text \"The cat sat on the mat.\" --explain --html audit.html\n"
     "  strata audit --model_name MODEL --text \"The cat sat.\" --numerics exact\n"
     "  tools/dump_hf.py MODEL --text \"The cat sat on the mat.\" --dtype bf16 --output dump.safetensors\n"
     "  strata audit --model_name MODEL --against dump.safetensors\n"
     "\n"
     "  --text T, --ids 1,2,3   what is run (with a dump: checked against its ids); some tens of tokens are enough\n"
     "  --against ref64|FILE    ref64 (default): our own run in --numerics; FILE: what another implementation computed\n"
     "  --explain               which operations' rounding moved the loss, by adjoints; predicted / observed near 1 closes it\n"
     "  --html FILE             the report as one page: layer by operation heatmap, curves, all numbers\n"
     "  --output FILE           the report as JSON (--json prints it)\n"
     "\n"
     "local: an operation on its own inputs against f64. accumulated: since the embedding, against ref64's own run.\n"
     "margin: the local difference over the bound that rounding can explain; above 1 is a defect. Rungs: C0 bits equal\n"
     "(the f64 value rounded once), C1 every margin <= 1, C2 the loss inside the adjoint band.\n"
     "Of a dump the first margin above 1 is the first divergence: it is named, and the alternative (epsilon, rotary base,\n"
     "window, missing bias ...) that closes it. Exit status 1 when an operation diverges or a check fails.\n"},
    {"serve",
     "strata serve: the lab in the browser, and its JSON API\n"
     "\n"
     "  strata serve --model_name tools/demo/model\n"
     "  strata serve --model_name tools/demo/model --port 0 --output_dir results     (any free port)\n"
     "  strata serve --model_name tools/demo/model --class 40 --read_only --host 0.0.0.0\n"
     "  strata serve --export site --output_dir results                              (the explorers as files)\n"
     "\n"
     "  --port 8080           0: any free one; the URL is printed\n"
     "  --output_dir results  what the explorers show; no other folder is opened\n"
     "  --host 127.0.0.1      another address asks for a token, which is printed with the URL\n"
     "  --token T             this token instead of a random one\n"
     "  --class N             N people at once: texts up to 128 tokens, more may wait\n"
     "  --read_only           the list of results stays as it was at the start\n"
     "  --export DIR          writes page and results as a static site; no model is needed\n"
     "  --context N           texts of up to N tokens (256)\n"
     "\n"
     "Without --model_name results can be explored, nothing is run. tools/web/API.md describes the API. Ctrl-C ends.\n"},
    {"next", "strata next: the next-word table and the logit lens\n"
             "\n"
             "  strata next --model_name tools/demo/model --text \"She opened the\" --top 5\n"
             "  strata next --model_name tools/demo/model --text \"She opened the\" --order \"0-10,11x2\" --json\n"},
    {"inspect", "strata inspect: shapes, dtypes, bytes, FLOPs, traits, tokenizer\n"
                "\n"
                "  strata inspect --model_name tools/demo/model\n"
                "  strata inspect --model_name tools/demo/model --json     (every tensor)\n"},
    {"tokenize", "strata tokenize: ids, pieces and byte spans; needs tokenizer files only\n"
                 "\n"
                 "  strata tokenize --model_name tools/demo/model --text \"Hello world\"\n"
                 "  strata tokenize --model_name tools/demo/model --file rows.jsonl --jsonl --json > tokens.jsonl\n"
                 "  --add_special   as encode(text, add_special_tokens=True) does\n"},
    {"pull",
     "strata pull: get a model or a data set from the hub. Nothing else ever fetches anything.\n"
     "\n"
     "  strata pull --model HuggingFaceTB/SmolLM2-135M\n"
     "  strata pull --model meta-llama/Meta-Llama-3-8B --revision main       (gated: accept the licence, set HF_TOKEN)\n"
     "  strata pull --model bartowski/SmolLM2-135M-Instruct-GGUF --file SmolLM2-135M-Instruct-Q8_0.gguf\n"
     "  strata pull --dataset wiki-text-2 --split test\n"
     "  strata pull --dataset allenai/c4 --config en --split validation --max_samples 2000\n"
     "\n"
     "A model: its safetensors, configuration and tokenizer, in parallel parts, checked by sha256, into the Hugging Face cache "
     "in\n"
     "that cache's own layout (HF_HUB_CACHE, HF_HOME; --output_dir is another cache). A data set: rows as\n"
     "datasets/NAME/SPLIT.jsonl (--output_dir instead of datasets). Interrupted, the same command goes on.\n"
     "  --file NAME           one file of the repository, a GGUF\n"
     "  --dataset NAME        wiki-text-2, wiki-text-103, gpt2-output-dataset, bookcorpus, or ORG/NAME with --config\n"
     "  --field text          the column that holds the text\n"
     "  --max_samples N       rows; all by default, 20000 of bookcorpus\n"
     "  --jobs 4 --part 32M   connections at a time, and what each asks for at once\n"
     "  --dry_run --force --quiet --json\n"
     "HF_TOKEN (or the login of huggingface_hub), HF_ENDPOINT and HF_HUB_OFFLINE are honoured.\n"},
    {"tag", "strata tag: part-of-speech tags of English text, as CoNLL-U on standard output\n"
            "\n"
            "  strata tag book.txt                    (plain or .gz; words are split as UD English EWT does)\n"
            "  strata tag --conllu words.conllu       (only ID, FORM and MISC are read)\n"
            "\n"
            "UPOS and XPOS are filled in; MISC holds Prob=, the posterior of UPOS, and for a text Start= and End=, the word's\n"
            "bytes in the file.\n"},
};

int help_print(const char *topic, FILE *out)
{
    if (!topic) {
        fputs(overview, out);
        return 1;
    }
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        if (strcmp(topics[i].name, topic) == 0) {
            fputs(topics[i].text, out);
            return 1;
        }
    }
    return 0;
}
