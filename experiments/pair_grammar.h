/* pair_grammar.h: lexicon and templates of sentence pairs, as text files that a linguist can edit (experiments/pairs/README.md documents the
 * format), compiled into lists, rows and sequences of nodes; and the drawing of one pair of sentences from a template.
 *
 * A pair is expanded into two texts at once, which differ inside the template's one edit alone. Rows drawn for a sentence are distinct,
 * so that nobody meets himself; a draw that fails (two equal sides, a content word twice) is drawn again by the caller.
 * Leaves to others: what a tokenizer makes of a pair (pair_verify.h), and how many are taken (pair_templates.h). */
#ifndef STRATA_EXPERIMENTS_PAIR_GRAMMAR_H
#define STRATA_EXPERIMENTS_PAIR_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/base/strbuf.h"
#include "experiments/pair_file.h"

typedef struct PairNode PairNode;
typedef struct PairList PairList;

/* Text between a template's or a value's ends. */
typedef struct PairSequence {
    const PairNode *first;
    size_t n_names; /* names bound in it: {x:list} */
} PairSequence;

typedef struct PairTemplate {
    const char *id;
    PairCategory category;
    bool has_error;      /* b is ungrammatical; otherwise a and b change places at random */
    bool is_first_token; /* its edit is the sentence's first token on purpose */
    PairSequence text;
    const char *file;
    size_t line;
} PairTemplate;

typedef struct PairGrammar {
    const PairList *lists; /* newest first */
    PairTemplate *templates;
    size_t n_templates, templates_cap;
    Arena arena;
} PairGrammar;

typedef struct PairSource {
    const char *name, *text;
    size_t len;
} PairSource;

/* The files inside the binary; returns how many. */
enum { PAIR_DATA_FILES = 16 };
size_t pair_data_sources(PairSource out[PAIR_DATA_FILES]);

/* All sources together: a list may be used before, and in another file than, it is defined. Errors name file and line. */
int pair_grammar_parse(const PairSource *sources, size_t n_sources, PairGrammar *out, Error *e);
/* dir's *.txt; NULL: the files inside the binary. */
int pair_grammar_open(const char *dir, PairGrammar *out, Error *e);
void pair_grammar_free(PairGrammar *g);

/* One side of a pair, as bytes of UTF-8. */
typedef struct PairText {
    StrBuf text;
    size_t edit_begin, edit_end; /* the edited words */
    size_t onset;                /* a byte of the word that makes it ungrammatical */
} PairText;

typedef struct PairDraft {
    PairText side[2];
} PairDraft;

/* Fills *out (its buffers are used again) and *drawn; false: draw again. The status is not 0 where the grammar is wrong. */
int pair_grammar_draw(const PairGrammar *g, const PairTemplate *t, Rng *rng, PairDraft *out, bool *drawn, Error *e);
void pair_draft_free(PairDraft *d);

#endif
