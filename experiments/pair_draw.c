/* pair_draw.c: one pair of sentences from a template. Both sides are written at once with marks, bytes below 6, for what is known only when
 * the words around are: a or an, where the edit and the onset lie, the capital at the beginning. The marks are then resolved. */
#include <ctype.h>
#include <string.h>

#include "experiments/pair_grammar.h"
#include "experiments/pair_grammar_nodes.h"

enum { MARK_ARTICLE = 1, MARK_WRONG_ARTICLE, MARK_ONSET, MARK_EDIT_BEGIN, MARK_EDIT_END, MAX_MARK = MARK_EDIT_END };
enum { MAX_DRAWN = 48, MAX_TRIES = 16, MAX_TEXT = 2000, REPEATED_LETTERS = 5 };

typedef struct Draw {
    const PairGrammar *g;
    const PairTemplate *t;
    Rng *rng;
    StrBuf marked[2];
    unsigned sides; /* being written: 1 left, 2 right, 3 both */
    const PairRow *drawn[MAX_DRAWN];
    size_t n_drawn;
    int n_edits, depth;
    bool again;
    Error *e;
} Draw;

static int wrong(const Draw *d, const PairNode *n, const char *what)
{
    return error_set(d->e, STATUS_USAGE, "%s: line %zu: in the template \"%s\": %s", n->file, n->line, d->t->id, what);
}

static void emit(Draw *d, const char *text, size_t n)
{
    for (int s = 0; s < 2; s++)
        if (d->sides & (1u << s)) {
            strbuf_append(&d->marked[s], text, n);
            d->again |= d->marked[s].len > MAX_TEXT;
        }
}

static void emit_mark(Draw *d, char mark)
{
    emit(d, &mark, 1);
}

/* A row that this pair does not have yet; NULL (and draw again) where none is found. */
static const PairRow *draw_row(Draw *d, const PairUnion *lists)
{
    size_t total = 0;
    for (size_t i = 0; i < lists->n; i++)
        total += lists->lists[i]->n_rows;
    for (int tries = 0; tries < MAX_TRIES && d->n_drawn < MAX_DRAWN; tries++) {
        size_t k = (size_t)rng_below(d->rng, total), i = 0;
        for (; k >= lists->lists[i]->n_rows; i++)
            k -= lists->lists[i]->n_rows;
        const PairRow *row = lists->lists[i]->rows[k];
        bool is_new = true;
        for (size_t j = 0; j < d->n_drawn && is_new; j++)
            is_new = d->drawn[j] != row;
        if (is_new)
            return d->drawn[d->n_drawn++] = row;
    }
    d->again = true;
    return NULL;
}

static int expand(Draw *d, const PairNode *n, const PairRow **names);

static int expand_value(Draw *d, const PairNode *n, const PairValue *v)
{
    const PairRow *names[PAIR_MAX_NAMES] = {NULL};
    if (++d->depth > PAIR_MAX_DEPTH)
        return wrong(d, n, "a list's row leads back to itself");
    int status = expand(d, v->text.first, names);
    d->depth--;
    return status;
}

static int expand_slot(Draw *d, const PairNode *n, const PairRow **names)
{
    const PairRow *row = n->from >= 0 ? names[n->from] : draw_row(d, n->lists);
    if (!row)
        return d->again ? STATUS_OK : wrong(d, n, "a name is used where its row was not drawn");
    size_t at = 0;
    const PairValue *v;
    for (;;) {
        int column = at < n->n_path ? pair_list_column(row->list, n->path[at]) : 0;
        if (column < 0)
            return wrong(d, n, "a row without the column that is asked for");
        v = &row->values[column];
        if (!v->reference)
            break;
        at++;
        if (!(row = draw_row(d, v->reference)))
            return STATUS_OK;
    }
    if (at + 1 < n->n_path)
        return wrong(d, n, "a column behind text");
    if (n->bind >= 0)
        names[n->bind] = row;
    return expand_value(d, n, v);
}

static int expand_edit(Draw *d, const PairNode *n, const PairRow **names)
{
    d->n_edits++;
    if (d->sides != 3)
        return wrong(d, n, "an edit inside an edit");
    int status = STATUS_OK;
    for (int s = 0; s < 2 && !status; s++) {
        d->sides = 1u << s;
        emit_mark(d, MARK_EDIT_BEGIN);
        status = expand(d, n->branches[s], names);
        emit_mark(d, MARK_EDIT_END);
    }
    d->sides = 3;
    return status;
}

static int expand(Draw *d, const PairNode *n, const PairRow **names)
{
    int status = STATUS_OK;
    for (; n && !status && !d->again; n = n->next)
        switch (n->kind) {
        case PAIR_NODE_TEXT:
            emit(d, n->text, n->len);
            break;
        case PAIR_NODE_SLOT:
            status = expand_slot(d, n, names);
            break;
        case PAIR_NODE_ARTICLE:
            emit_mark(d, MARK_ARTICLE);
            break;
        case PAIR_NODE_WRONG_ARTICLE:
            emit_mark(d, MARK_WRONG_ARTICLE);
            break;
        case PAIR_NODE_CHOICE:
            status = expand(d, n->branches[rng_below(d->rng, n->n_branches)], names);
            break;
        case PAIR_NODE_EDIT:
            status = expand_edit(d, n, names);
            break;
        case PAIR_NODE_ONSET:
            emit_mark(d, MARK_ONSET);
            break;
        }
    return status;
}

static bool is_in_list(const PairGrammar *g, const char *name, const char *word, size_t n)
{
    for (const PairList *l = g->lists; l; l = l->next)
        for (size_t i = 0; strcmp(l->name, name) == 0 && i < l->n_rows; i++) {
            const PairNode *text = l->rows[i]->values[0].text.first;
            if (text && text->kind == PAIR_NODE_TEXT && text->len == n && strncasecmp(text->text, word, n) == 0)
                return true;
        }
    return false;
}

/* Whether the word that follows takes "an": its first letter, but for the words of the lists sounds_a and sounds_an. */
static bool takes_an(const PairGrammar *g, const char *s, const char *end)
{
    while (s < end && (*s <= MAX_MARK || *s == ' '))
        s++;
    const char *word = s;
    while (s < end && isalpha((unsigned char)*s))
        s++;
    size_t n = (size_t)(s - word);
    if (n == 0 || is_in_list(g, "sounds_a", word, n))
        return false;
    return strchr("aeiouAEIOU", *word) || is_in_list(g, "sounds_an", word, n);
}

static bool is_closing(char c)
{
    return c == ',' || c == '.' || c == '?' || c == '!';
}

/* Marks become articles, offsets and a capital; spaces that alternatives left behind go. */
static void resolve(const PairGrammar *g, const StrBuf *marked, PairText *out, bool *has_onset)
{
    const char *s = marked->data, *end = s + marked->len;
    StrBuf *text = &out->text;
    bool capital = true, onset_next = false, edit_next = false;
    strbuf_reset(text);
    *has_onset = false;
    for (; s < end; s++) {
        const char *add = s;
        size_t n = 1;
        if (*s == MARK_ONSET) {
            bool after_word = text->len && text->data[text->len - 1] != ' ';
            *has_onset = true;
            onset_next = !after_word;
            out->onset = after_word ? text->len - 1 : 0;
            continue;
        }
        if (*s == MARK_EDIT_BEGIN) {
            edit_next = true;
            continue;
        }
        if (*s == MARK_EDIT_END) {
            out->edit_end = text->len;
            out->edit_begin = edit_next ? text->len : out->edit_begin; /* nothing between the marks */
            edit_next = false;
            continue;
        }
        if (*s == MARK_ARTICLE || *s == MARK_WRONG_ARTICLE) {
            bool an = takes_an(g, s + 1, end) == (*s == MARK_ARTICLE);
            add = an ? "an" : "a";
            n = an ? 2 : 1;
        }
        if (*add == ' ' && (text->len == 0 || text->data[text->len - 1] == ' '))
            continue;
        if (is_closing(*add) && text->len && text->data[text->len - 1] == ' ')
            text->data[--text->len] = 0;
        if (*add != ' ' && onset_next) {
            out->onset = text->len;
            onset_next = false;
        }
        if (*add != ' ' && edit_next) {
            out->edit_begin = text->len;
            edit_next = false;
        }
        strbuf_append(text, add, n);
        if (capital && *add != ' ' && !text->failed) {
            char *c = text->data + text->len - n;
            *c = (char)toupper((unsigned char)*c);
            capital = false;
        }
    }
    while (text->len && text->data[text->len - 1] == ' ')
        text->data[--text->len] = 0;
}

/* A word of five letters or more that stands twice: the sentence reads like a machine's. */
static bool repeats(const StrBuf *text)
{
    struct {
        const char *at;
        size_t n;
    } words[64];
    size_t n_words = 0;
    for (const char *s = text->data, *end = s + text->len; s < end;) {
        const char *begin = s;
        while (s < end && isalpha((unsigned char)*s))
            s++;
        size_t n = (size_t)(s - begin);
        s += n == 0;
        if (n < REPEATED_LETTERS)
            continue;
        for (size_t i = 0; i < n_words; i++)
            if (words[i].n == n && strncasecmp(words[i].at, begin, n) == 0)
                return true;
        if (n_words < 64) {
            words[n_words].at = begin;
            words[n_words++].n = n;
        }
    }
    return false;
}

static bool same_word(const PairText *x, const PairText *y)
{
    size_t n = x->edit_end - x->edit_begin;
    return n == y->edit_end - y->edit_begin && memcmp(x->text.data + x->edit_begin, y->text.data + y->edit_begin, n) == 0;
}

int pair_grammar_draw(const PairGrammar *g, const PairTemplate *t, Rng *rng, PairDraft *out, bool *drawn, Error *e)
{
    Draw d = {.g = g, .t = t, .rng = rng, .sides = 3, .e = e};
    const PairRow *names[PAIR_MAX_NAMES] = {NULL};
    const PairNode whole = {.file = t->file, .line = t->line};
    bool has_onset = false;
    *drawn = false;
    int status = expand(&d, t->text.first, names);
    if (!status && !d.again && d.n_edits != 1)
        status = wrong(&d, &whole, d.n_edits ? "more than one edit <left|right>" : "no edit <left|right>");
    for (int s = 0; s < 2 && !status && !d.again; s++) {
        PairText *x = &out->side[s];
        resolve(g, &d.marked[s], x, &has_onset);
        if (d.marked[s].failed || x->text.failed)
            status = error_set(e, STATUS_FAILED, "no memory for a pair of sentences");
        else if (x->edit_end <= x->edit_begin)
            status = wrong(&d, &whole, "an edit with an empty side");
        else if (!has_onset)
            x->onset = x->edit_end - 1;
        d.again |= !status && repeats(&x->text);
    }
    if (!status && !d.again && !same_word(&out->side[0], &out->side[1])) {
        *drawn = true;
        if (!t->has_error && rng_below(rng, 2)) {
            PairText first = out->side[0];
            out->side[0] = out->side[1];
            out->side[1] = first;
        }
    }
    strbuf_free(&d.marked[0]);
    strbuf_free(&d.marked[1]);
    return status;
}

void pair_draft_free(PairDraft *d)
{
    strbuf_free(&d->side[0].text);
    strbuf_free(&d->side[1].text);
}
