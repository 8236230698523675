/* studies.h: the studies as functions, installed as strata_studies.h beside strata.h: what the command line calls, a program can
 * call. Results go to files under output_dir and to `out`; nothing else is printed but progress on stderr (not with quiet).
 *
 * Status: 0 done, 1 the work failed, 2 wrong usage, 130 stopped through `stop` (what was done is kept). Strings may be NULL where
 * a default is named. */
#ifndef STRATA_EXPERIMENTS_STUDIES_H
#define STRATA_EXPERIMENTS_STUDIES_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef STRATA_ERROR_DECLARED
#define STRATA_ERROR_DECLARED
typedef struct StrataError {
    char text[1024]; /* one line, no newline at its end, always terminated */
} StrataError;
#endif

/* What every study that runs a model understands. */
typedef struct StrataCommon {
    const char *model_name; /* hub id, directory or .gguf file; required */
    const char *revision;   /* "main" */
    const char *gpu_id;     /* "auto" */
    const char *dtype;      /* "f32" */
    const char *numerics;   /* "fast", "stable", "exact", "ref64" */
    const char *bos;        /* "auto", "yes", "no" */
    const char *rope;       /* "hf32", "real" */
    int threads;            /* 0: all processors */
    int context;            /* 0: min(1024, the model's positions) */
    uint64_t memory_bytes;  /* 0: half of what the machine has left */
    uint64_t seed;
    int quiet, json;
    FILE *out;                   /* where tables and JSON go; NULL: nowhere */
    volatile sig_atomic_t *stop; /* set non-zero to stop; may be NULL */
    int argc;                    /* stamped into run.json */
    char **argv;
} StrataCommon;

typedef struct StrataSweepOptions {
    StrataCommon common;
    const char *dataset_type, *dataset_path; /* one of them at least */
    const char *split;                       /* "test" */
    const char *protocol;                    /* "rows", "concat", "file", "all" */
    const char *experiment;                  /* "removal" unless orders are given */
    const char *orders;                      /* a spec or a file; excludes experiment */
    const char *schedule;                    /* "tree", "naive" */
    const char *output_dir;                  /* "results" */
    const char *tag;
    const char *shard;    /* "K/N"; NULL: what an MPI or Slurm launcher says, else the whole */
    uint64_t max_samples; /* 1000 */
    int dry_run, force;
} StrataSweepOptions;
int strata_sweep(const StrataSweepOptions *options, StrataError *e);

/* Joins the finished shards of a sweep into the ledger, tables and figures of the whole. */
typedef struct StrataMergeOptions {
    StrataCommon common;      /* what the shards' run.json says goes before it, but out, quiet, json, memory and stop */
    const char *const *paths; /* the result folder that holds shard_K_of_N, or these one by one */
    size_t n_paths;
    int force;
} StrataMergeOptions;
int strata_merge(const StrataMergeOptions *options, StrataError *e);

/* How far the runs in and below a folder are, from their files alone: also while another machine writes them. */
typedef struct StrataStatusOptions {
    const char *path;
    int json;
    FILE *out;
} StrataStatusOptions;
int strata_status(const StrataStatusOptions *options, StrataError *e);

typedef struct StrataPosOptions {
    StrataCommon common;                     /* model_name: as swept, its part after the last "/", or a result folder */
    const char *dataset_type, *dataset_path; /* of the sweep; not read when model_name is a folder */
    const char *experiment;                  /* "removal" */
    const char *output_dir;                  /* "results": where sweeps write */
    const char *gold;                        /* CoNLL-U: its tags instead of the tagger's */
    const char *lang;                        /* of captions: "en", "ja" */
    uint64_t sample_size;                    /* 1000 */
    int fine;                                /* Penn's tags too */
} StrataPosOptions;
/* The change by part of speech, from a finished sweep's files alone: pos.json, pos.csv, pos_words.csv, figures/pos_*. Several
 * results that match are wrong usage, and are listed. */
int strata_pos(const StrataPosOptions *options, StrataError *e);

typedef struct StrataTraceOptions {
    StrataCommon common;
    const char *text; /* or ids: "1,2,3" */
    const char *ids;
    const char *order;  /* the intact order */
    const char *output; /* "trace.safetensors" */
} StrataTraceOptions;
/* Residual streams of one text at every step of an order: blocks.N.hook_resid_pre, _mid, _post [T, D], ln_final.hook_normalized
 * [T, D], ids I32 [T], nll F32 [T-1]. */
int strata_trace(const StrataTraceOptions *options, StrataError *e);

typedef struct StrataNextOptions {
    StrataCommon common;
    const char *text, *ids, *order;
    int top; /* 10 */
} StrataNextOptions;
/* The next-word table, and what the logit lens (final norm, then head) reads at every layer. */
int strata_next(const StrataNextOptions *options, StrataError *e);

/* Shapes, dtypes, bytes, FLOPs, traits, tokenizer. */
int strata_inspect(const StrataCommon *options, StrataError *e);

typedef struct StrataTokenizeOptions {
    StrataCommon common;
    const char *text, *file; /* one of them */
    int jsonl;               /* every line of file is an object with "text" */
    int add_special;
} StrataTokenizeOptions;
/* Ids, pieces and byte spans. Needs tokenizer files only. */
int strata_tokenize_file(const StrataTokenizeOptions *options, StrataError *e);

typedef struct StrataCompareOptions {
    StrataCommon common;           /* no model is run: out, quiet, json */
    const char *const *json_files; /* ppl.json, pos.json or result folders; or diff.json files or folders, all of them */
    size_t n_json_files;           /* 2 to 8 */
    const char *experiment;        /* that of the first file */
    const char *output_dir;        /* "figures/comparisons" */
    const char *depth;             /* "absolute", "relative"; relative where the models' numbers of layers differ */
    const char *lang;              /* "en", "ja" */
} StrataCompareOptions;
/* Several results laid over each other: compare.json, compare.csv and figures in output_dir. pos.json is made where absent. */
int strata_compare(const StrataCompareOptions *options, StrataError *e);

typedef struct StrataReportOptions {
    StrataCommon common;
    const char *const *dirs; /* result folders of sweeps */
    size_t n_dirs;
    const char *output_dir; /* DIR/report for one folder, "report" for several */
    const char *lang;       /* "en", "ja", "both" (default) */
} StrataReportOptions;
/* The paper's material: LaTeX and CSV tables, figures at 84 and 174 mm, methods text, an index. */
int strata_report(const StrataReportOptions *options, StrataError *e);

typedef struct StrataPairsOptions {
    StrataCommon common;     /* model_name: whose tokenizer verifies; its weights are not read. seed: of the templates' draws */
    const char *source;      /* "templates", "api", or a .csv, .tsv or .jsonl of pairs */
    const char *output;      /* "pairs.jsonl"; STEM.rejected.jsonl and STEM.meta.json beside it */
    const char *categories;  /* "tense,article"; NULL: all */
    const char *category;    /* of a file that names none */
    const char *templates;   /* a folder of lexicon and templates instead of the built-in ones */
    const char *review;      /* a CSV: written where absent, else read, and what it refuses is left out */
    uint64_t per_category;   /* 500 */
    const char *api_base;    /* "https://api.openai.com/v1" */
    const char *api_model;   /* required by "api"; the key is read from STRATA_API_KEY, else OPENAI_API_KEY */
    const char *temperature; /* "1" */
    int first_token;         /* templates: pairs whose first token is the edit, a class of its own */
    int dry_run, force;
} StrataPairsOptions;
/* Pairs of sentences that differ in one token, verified under a tokenizer (experiments/pair_file.h). */
int strata_pairs(const StrataPairsOptions *options, StrataError *e);

typedef struct StrataPullOptions {
    StrataCommon common;                  /* out, quiet, json, stop */
    const char *model, *revision, *file;  /* a hub id; "main"; one file of it (GGUF) instead of safetensors */
    const char *dataset, *split, *config; /* one of the four names, or ORG/NAME with its config */
    const char *field;                    /* "text" */
    const char *output_dir;               /* the Hugging Face cache; "datasets" */
    uint64_t max_samples;                 /* rows; 0: all (bookcorpus 20000) */
    uint64_t part_bytes;                  /* of a large file in one request; 32 MiB */
    int jobs;                             /* connections at a time; 4 */
    int dry_run, force;
} StrataPullOptions;
/* The only function that fetches anything: a model into the Hugging Face cache's own layout, or a data set into
 * OUTPUT_DIR/NAME/SPLIT.jsonl. Interrupted, the same call goes on. */
int strata_pull(const StrataPullOptions *options, StrataError *e);

typedef struct StrataTagOptions {
    const char *path; /* English text in UTF-8, or a treebank in CoNLL-U; either may be gzipped */
    int is_conllu;
    FILE *out;                   /* NULL: standard output */
    volatile sig_atomic_t *stop; /* may be NULL */
} StrataTagOptions;
/* Part-of-speech tags (UPOS, XPOS) with the posterior of UPOS, as CoNLL-U. Of a treebank only ID, FORM and MISC are read. */
int strata_tag(const StrataTagOptions *options, StrataError *e);

typedef struct StrataAuditOptions {
    StrataCommon common;
    const char *text, *ids;    /* audited; with a dump: checked against its ids */
    const char *against;       /* "ref64" (default), or a dump of another implementation (tools/dump_hf.py) */
    const char *output;        /* the report as JSON; NULL: none */
    const char *html;          /* the report as one HTML file; NULL: none */
    int explain;               /* the adjoint error budget too */
    const char *ledger;        /* the folder of a finished sweep: random entries are computed again instead */
    uint64_t sample;           /* so many: 200 */
    const char *const *orders; /* two specs: is their difference in loss real? */
    size_t n_orders;
    const char *dataset_type, *dataset_path; /* rows for that, or text */
    uint64_t max_samples;                    /* 100 */
} StrataAuditOptions;
/* Against ref64: every operation of our own run of the text, on its own inputs and since the embedding. Against a dump: every recorded
 * operation's inputs through our f64 operation; the first whose margin exceeds 1 is named, and the named alternative that closes it.
 * Status 1 when an operation diverges. */
int strata_audit(const StrataAuditOptions *options, StrataError *e);

typedef struct StrataServeOptions {
    StrataCommon common;    /* model_name NULL: results can be explored, nothing is run. Serves until *stop is set */
    const char *output_dir; /* "results": the explorers show what lies below it, and nothing else is opened */
    const char *pairs;      /* pairs.jsonl shown with diff results that have none in their folder; NULL: none */
    const char *host;       /* "127.0.0.1" */
    const char *token;      /* asked of every request; made where host is not loopback */
    const char *export_dir; /* write the explorers there as a static site instead of serving */
    int port, port_given;   /* 8080; 0: any free port */
    int class_size;         /* so many people work at once; 0: one */
    int read_only;          /* the list of results stays as it was at the start */
} StrataServeOptions;
/* The page and its JSON API (tools/web/API.md). The URL goes to `out`. */
int strata_serve(const StrataServeOptions *options, StrataError *e);

typedef struct StrataDiffOptions {
    StrataCommon common;
    const char *pairs;                       /* pairs.jsonl of `strata pairs`; required */
    const char *output_dir;                  /* "results/diff" */
    const char *dataset_type, *dataset_path; /* the held-out corpus for sigma; both NULL: the bundled excerpt of WikiText-2 */
    const char *order;                       /* the intact order */
    const char *against;                     /* a second model on the same pairs, into OUTPUT_DIR/against */
    const char *tap;                         /* "resid", "attn_out", "mlp_out" */
    const char *controls;                    /* "all", "none": the plain analysis alone */
    const char *categories;                  /* "tense,article"; NULL: all */
    const char *lang;                        /* of figures: "en", "ja" */
    uint64_t per_category;                   /* pairs of each category at most; 0: all */
    uint64_t save_pairs;                     /* keep full differences of so many pairs */
    uint64_t sigma_windows;                  /* 128 */
    uint64_t lens_pairs;                     /* 16 of each category for the logit lens */
    uint64_t ablation_pairs;                 /* 24 of each category that claims something */
    uint64_t floor_pairs;                    /* 8 pairs recomputed unshared and in another batch shape, half of them in ref64 */
    int no_figures, force;
} StrataDiffOptions;
/* Study B: how pairs that differ in one token differ inside the model, with every control: diff.json, diff.safetensors, CSVs and
 * figures in output_dir. */
int strata_diff(const StrataDiffOptions *options, StrataError *e);

typedef struct StrataDimOptions {
    StrataCommon common;
    const char *place;                       /* "LAYER:DIM", LAYER 0 the embedding, l the stream after step l; required */
    const char *order;                       /* the intact order */
    const char *dataset_type, *dataset_path; /* both NULL: the bundled excerpt */
} StrataDimOptions;
/* One dimension of the residual stream: spread, strongest contexts, unembedding tokens, what ablating it costs. */
int strata_dim(const StrataDimOptions *options, StrataError *e);

#ifdef __cplusplus
}
#endif

#endif
