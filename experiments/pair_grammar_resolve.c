/* pair_grammar_resolve.c: names of a grammar that was read become lists: unions are filled, and every path of every slot is followed through every row
 * it may meet, so that a fault shows at once and not in the thousandth sentence. */
#include <string.h>

#include "experiments/pair_grammar_nodes.h"

static int no_memory(Error *e)
{
    return error_set(e, STATUS_FAILED, "no memory for the templates of pairs");
}

const PairList *pair_grammar_list(const PairGrammar *g, const char *name)
{
    for (const PairList *l = g->lists; l; l = l->next)
        if (strcmp(l->name, name) == 0)
            return l;
    return NULL;
}

static int resolve_union(PairGrammar *g, PairUnion *u, const char *file, size_t line, Error *e)
{
    for (size_t i = 0; i < u->n; i++) {
        u->lists[i] = pair_grammar_list(g, u->names[i]);
        if (!u->lists[i])
            return error_set(e, STATUS_USAGE, "%s: line %zu: no list \"%s\"", file, line, u->names[i]);
        if (u->lists[i]->n_columns == 0 && !u->lists[i]->is_union)
            return error_set(e, STATUS_USAGE, "%s: line %zu: the list \"%s\" is empty", file, line, u->names[i]);
    }
    return STATUS_OK;
}

/* Rows of unions, whose members may be unions themselves. */
static int fill_union(PairGrammar *g, PairList *list, int depth, Error *e)
{
    if (!list->is_union || list->n_rows)
        return STATUS_OK;
    if (depth > PAIR_MAX_DEPTH)
        return error_set(e, STATUS_USAGE, "%s: line %zu: the list \"%s\" is made of itself", list->file, list->line,
                         list->name);
    int status = resolve_union(g, list->is_union, list->file, list->line, e);
    size_t n = 0;
    for (size_t i = 0; i < list->is_union->n && !status; i++) {
        PairList *member = (PairList *)list->is_union->lists[i];
        status = fill_union(g, member, depth + 1, e);
        n += member->n_rows;
    }
    if (status)
        return status;
    list->rows = arena_array(&g->arena, n ? n : 1, sizeof *list->rows);
    if (!list->rows)
        return no_memory(e);
    for (size_t i = 0; i < list->is_union->n; i++) {
        const PairList *member = list->is_union->lists[i];
        if (member->n_rows)
            memcpy(list->rows + list->n_rows, member->rows, member->n_rows * sizeof *list->rows);
        list->n_rows += member->n_rows;
    }
    return STATUS_OK;
}

/* Every row that `lists` may give has the path's columns, and a list's reference stands where the path goes on. */
static int check_path(const PairNode *n, const PairUnion *lists, size_t first, Error *e)
{
    for (size_t i = 0; i < lists->n; i++)
        for (size_t k = 0; k < lists->lists[i]->n_rows; k++) {
            const PairRow *row = lists->lists[i]->rows[k];
            int column = first < n->n_path ? pair_list_column(row->list, n->path[first]) : 0;
            if (column < 0)
                return error_set(e, STATUS_USAGE, "%s: line %zu: the list \"%s\" has no column \"%s\"", n->file, n->line,
                                 row->list->name, n->path[first]);
            const PairValue *v = &row->values[column];
            if (!v->reference && first + 1 < n->n_path)
                return error_set(e, STATUS_USAGE, "%s: line %zu: \"%s\" of the list \"%s\" is text, so \".%s\" cannot follow",
                                 n->file, n->line, n->path[first], row->list->name, n->path[first + 1]);
            int status = v->reference ? check_path(n, v->reference, first + 1, e) : STATUS_OK;
            if (status)
                return status;
        }
    return STATUS_OK;
}

static int resolve_nodes(PairGrammar *g, const PairNode *n, bool check, Error *e)
{
    int status = STATUS_OK;
    for (; n && !status; n = n->next) {
        if (n->kind == PAIR_NODE_SLOT && n->lists)
            status = check ? check_path(n, n->lists, 0, e) : resolve_union(g, n->lists, n->file, n->line, e);
        for (size_t i = 0; i < n->n_branches && !status; i++)
            status = resolve_nodes(g, n->branches[i], check, e);
    }
    return status;
}

/* All nodes, first resolved, then checked. */
static int resolve_all(PairGrammar *g, bool check, Error *e)
{
    int status = STATUS_OK;
    for (const PairList *l = g->lists; l && !status; l = l->next) {
        if (l->n_rows == 0)
            return error_set(e, STATUS_USAGE, "%s: line %zu: the list \"%s\" has no row", l->file, l->line, l->name);
        for (size_t i = 0; !l->is_union && i < l->n_rows && !status; i++)
            for (size_t c = 0; c < l->n_columns && !status; c++) {
                const PairValue *v = &l->rows[i]->values[c];
                status = v->reference && !check ? resolve_union(g, v->reference, l->file, l->line, e)
                                                : resolve_nodes(g, v->text.first, check, e);
            }
    }
    for (size_t i = 0; i < g->n_templates && !status; i++)
        status = resolve_nodes(g, g->templates[i].text.first, check, e);
    return status;
}

int pair_grammar_resolve(PairGrammar *g, Error *e)
{
    int status = STATUS_OK;
    for (const PairList *l = g->lists; l && !status; l = l->next)
        status = fill_union(g, (PairList *)l, 0, e);
    if (!status)
        status = resolve_all(g, false, e);
    return status ? status : resolve_all(g, true, e);
}
