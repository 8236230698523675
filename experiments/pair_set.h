/* pair_set.h: pairs that are kept and pairs that are refused, each (a, b) once, and how they are written:
 *   OUTPUT            the kept ones (pair_file.h)
 *   STEM.rejected.jsonl   a, b, category, template, reason (what is not known is null) */
#ifndef STRATA_EXPERIMENTS_PAIR_SET_H
#define STRATA_EXPERIMENTS_PAIR_SET_H

#include "experiments/pair_verify.h"

/* Byte strings that were seen, with a count each. */
typedef struct PairCounts {
    struct PairCount *slots;
    size_t n_slots, n_used;
    Arena arena;
} PairCounts;

/* The count of a key, 0 at first; NULL when memory is out. */
size_t *pair_counts_at(PairCounts *c, const char *key, size_t len);
void pair_counts_free(PairCounts *c);

typedef struct PairReject {
    const char *a, *b, *category, *template_id, *reason; /* NULL: not known */
} PairReject;

typedef struct PairSet {
    Pair *pairs;
    size_t n_pairs, pairs_cap;
    PairReject *rejects;
    size_t n_rejects, rejects_cap;
    PairCounts seen; /* a, b and b, a of all of them */
    Arena arena;
} PairSet;

/* Whether (a, b) or (b, a) is there, kept or refused; -1 when memory is out. */
int pair_set_seen(PairSet *s, const char *a, size_t a_len, const char *b, size_t b_len);
/* The pair's strings and ids lie in s->arena. */
int pair_set_keep(PairSet *s, const Pair *p, Error *e);
int pair_set_reject(PairSet *s, const PairCandidate *c, const char *category, const char *reason, Error *e);
void pair_set_free(PairSet *s);

/* A word pair's key whatever side it is on, and a template's: for counts of clusters. Appended to out. */
void pair_set_word_key(const Pair *p, StrBuf *out);
typedef struct PairClusters {
    size_t n_pairs, n_templates, n_words, n_rejects;
} PairClusters;
int pair_set_clusters(const PairSet *s, PairCategory category, PairClusters *out, Error *e);

int pair_set_write(const PairSet *s, const char *path, Error *e);
int pair_set_write_rejects(const PairSet *s, const char *path, Error *e);
void pair_set_put(const Pair *p, StrBuf *out); /* one line of pairs.jsonl */

#endif
