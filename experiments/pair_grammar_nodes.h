/* pair_grammar_nodes.h: the compiled form of a grammar, between pair_grammar.c (reads it), pair_grammar_resolve.c (checks it) and
 * pair_draw.c (draws from it). */
#ifndef STRATA_EXPERIMENTS_PAIR_GRAMMAR_NODES_H
#define STRATA_EXPERIMENTS_PAIR_GRAMMAR_NODES_H

#include "experiments/pair_grammar.h"

enum { PAIR_MAX_COLUMNS = 12, PAIR_MAX_PATH = 4, PAIR_MAX_NAMES = 8, PAIR_MAX_UNION = 12, PAIR_MAX_DEPTH = 12 };

/* Lists of which one row is drawn, each row as likely. */
typedef struct PairUnion {
    const char *names[PAIR_MAX_UNION];
    const PairList *lists[PAIR_MAX_UNION]; /* resolved when all is read */
    size_t n;
} PairUnion;

/* A cell: text, or another list to draw from (@food). */
typedef struct PairValue {
    PairSequence text;
    PairUnion *reference; /* NULL: text */
} PairValue;

typedef struct PairRow {
    const PairList *list;
    const PairValue *values; /* [n_columns] */
} PairRow;

struct PairList {
    const char *name;
    const char *columns[PAIR_MAX_COLUMNS];
    size_t n_columns;
    const PairRow **rows;
    size_t n_rows, rows_cap;
    PairUnion *is_union; /* list x = a + b: rows are filled when all is read */
    const char *file;
    size_t line;
    const PairList *next;
};

typedef enum PairNodeKind {
    PAIR_NODE_TEXT,
    PAIR_NODE_SLOT,          /* {list}, {x:list.column}, {x.column} */
    PAIR_NODE_ARTICLE,       /* {a}: a or an, as the next word sounds */
    PAIR_NODE_WRONG_ARTICLE, /* {a!}: the other one */
    PAIR_NODE_CHOICE,        /* [one/another/] */
    PAIR_NODE_EDIT,          /* <left|right> */
    PAIR_NODE_ONSET,         /* ^ */
} PairNodeKind;

struct PairNode {
    PairNodeKind kind;
    const PairNode *next;
    const char *text; /* PAIR_NODE_TEXT */
    size_t len;
    int bind; /* PAIR_NODE_SLOT: the name it gives, -1: none */
    int from; /* the name it takes its row from; -1: drawn from lists */
    PairUnion *lists;
    const char *path[PAIR_MAX_PATH];
    size_t n_path;
    const PairNode *const *branches; /* PAIR_NODE_CHOICE, PAIR_NODE_EDIT (2) */
    size_t n_branches;
    const char *file;
    size_t line;
};

const PairList *pair_grammar_list(const PairGrammar *g, const char *name); /* NULL: there is none */
int pair_grammar_resolve(PairGrammar *g, Error *e);                        /* pair_grammar_resolve.c; once, when all is read */
int pair_list_column(const PairList *list, const char *name);              /* -1: there is none */

#endif
