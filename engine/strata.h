/* strata.h: the public interface of libstrata.a.
 *
 * Open a model from its own files, run it with its layers in any order, tap the residual stream at every step, run many orders
 * at once through the prefix tree. Link with `pkg-config --cflags --libs strata`.
 *
 *   StrataError error;
 *   StrataModel *model;
 *   if (strata_model_open("models/tiny", NULL, &model, &error)) { fprintf(stderr, "%s\n", error.text); return 1; }
 *   int32_t ids[] = {5, 17, 23, 42};
 *   StrataPrediction p[3];
 *   strata_run(model, "0-3,5-11", ids, 4, NULL, NULL, p, &error);   // layer 4 removed
 *   strata_model_close(model);
 *
 * Every function that can fail returns 0 on success, 1 when the work failed, 2 for wrong usage, and fills the error's one line.
 * A model is used by one thread at a time; inside, it computes with several. */
#ifndef STRATA_ENGINE_STRATA_H
#define STRATA_ENGINE_STRATA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef STRATA_ERROR_DECLARED
#define STRATA_ERROR_DECLARED
typedef struct StrataError {
    char text[1024]; /* one line, no newline at its end, always terminated */
} StrataError;
#endif

/* NULL or zero means the default. */
typedef struct StrataOptions {
    const char *gpu_id;    /* "auto" (default), "cpu", or a device number */
    const char *numerics;  /* "fast", "stable", "exact", "ref64" */
    const char *dtype;     /* "f32" */
    const char *rope;      /* "hf32" (default) or "real" */
    const char *revision;  /* of a hub id in the local cache; "main" */
    int threads;           /* all processors */
    uint64_t memory_bytes; /* half of what the machine has left */
} StrataOptions;

typedef struct StrataModel StrataModel;

/* name: a directory, a .gguf file, or a hub id in models/ or the Hugging Face cache. Never downloads. */
int strata_model_open(const char *name, const StrataOptions *options, StrataModel **out, StrataError *e);
void strata_model_close(StrataModel *m); /* accepts NULL */

int strata_model_layers(const StrataModel *m);   /* L */
size_t strata_model_width(const StrataModel *m); /* D */
size_t strata_model_vocab(const StrataModel *m); /* V */

/* Ids of a text, as Hugging Face's encode(text, add_special_tokens); *ids is released with strata_free. */
int strata_tokenize(StrataModel *m, const char *text, size_t text_len, int add_special, int32_t **ids, size_t *n_ids,
                    StrataError *e);
void strata_free(void *memory);

/* What the model says of one token, from the tokens before it. */
typedef struct StrataPrediction {
    double nll;   /* -log p(token), nats */
    double kl;    /* KL(first order || this order) of the distribution, nats; 0 for the first order */
    int32_t rank; /* number of tokens thought likelier */
    int32_t top1; /* the likeliest token */
} StrataPrediction;

/* A tap sees one residual: name is TransformerLens's, N counting positions in the order: "blocks.N.hook_resid_pre",
 * "blocks.N.hook_resid_mid" (between attention and MLP), "blocks.N.hook_resid_post", "ln_final.hook_normalized". values is
 * [n_rows, width], valid during the call. A non-zero return stops the run with that status. */
typedef int (*StrataTap)(void *user, const char *name, const double *values, size_t n_rows, size_t width);

/* Runs one order (grammar: "0-11,13-31", see `strata help orders`) over ids [n]; predictions [n-1] or NULL; tap or NULL. */
int strata_run(StrataModel *m, const char *order, const int32_t *ids, size_t n, StrataTap tap, void *user,
               StrataPrediction *predictions, StrataError *e);

typedef struct StrataPlanCounts {
    int64_t layer_evaluations;       /* whole layers computed thanks to the prefix tree */
    int64_t naive_layer_evaluations; /* what a loop over the orders computes */
    double flops, flops_naive;
} StrataPlanCounts;

/* Runs many orders over the same ids, shared prefixes once. predictions [n_orders][n-1]; KL refers to orders[0]. counts may be NULL. */
int strata_run_orders(StrataModel *m, const char *const *orders, size_t n_orders, const int32_t *ids, size_t n,
                      StrataPrediction *predictions, StrataPlanCounts *counts, StrataError *e);

const char *strata_version(void); /* "0.1.0" */

/* Limits the vector instructions used: "scalar", "avx2", "avx512" or "native" (default). Call it before anything else. Sets
 * OPENBLAS_CORETYPE for BLAS to match; *restart is set to 1 when OpenBLAS had chosen its core already, so that only a new
 * process (exec) will follow. restart may be NULL. */
int strata_cpu_select(const char *level, int *restart, StrataError *e);

#ifdef __cplusplus
}
#endif

#endif
