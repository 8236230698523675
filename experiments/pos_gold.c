/* pos_gold.c: see pos_gold.h. */
#include "experiments/pos_gold.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "experiments/tagger.h"

/* White space of a form or text at s: ASCII, U+00A0, U+2000..U+200A, U+202F, U+3000. 0: none. */
static size_t space_at(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    if (n >= 1 && (s[0] == ' ' || (s[0] >= 9 && s[0] <= 13)))
        return 1;
    if (n >= 2 && s[0] == 0xc2 && s[1] == 0xa0)
        return 2;
    if (n >= 3 && s[0] == 0xe2 && s[1] == 0x80 && ((s[2] >= 0x80 && s[2] <= 0x8a) || s[2] == 0xaf))
        return 3;
    return n >= 3 && s[0] == 0xe3 && s[1] == 0x80 && s[2] == 0x80 ? 3 : 0;
}

static void skip_spaces(const char *text, size_t n, size_t *at)
{
    for (size_t space; *at < n && (space = space_at(text + *at, n - *at));)
        *at += space;
}

/* Steps *at over form in text, white space apart. False where they differ. */
static bool step_over(const char *text, size_t n, ConlluSlice form, size_t *at)
{
    for (size_t i = 0;;) {
        skip_spaces(form.bytes, form.n_bytes, &i);
        if (i >= form.n_bytes)
            return true;
        skip_spaces(text, n, at);
        if (*at >= n || text[*at] != form.bytes[i])
            return false;
        ++*at;
        i++;
    }
}

/* The line after the words of a range that begins at line i: its last ID is `last`. */
static size_t end_of_range(const ConlluFile *f, size_t i, size_t end, ConlluSlice id)
{
    const char *dash = memchr(id.bytes, '-', id.n_bytes);
    size_t n = dash ? (size_t)(id.bytes + id.n_bytes - dash - 1) : 0;
    for (size_t k = i + 1; k < end; k++) {
        const ConlluSlice word = f->lines[k].columns[CONLLU_ID];
        if (f->lines[k].is_word && word.n_bytes == n && memcmp(word.bytes, dash + 1, n) == 0)
            return k + 1;
    }
    return i + 1;
}

static bool words_spell(const ConlluFile *f, size_t i, size_t end)
{
    const ConlluSlice whole = f->lines[i].columns[CONLLU_FORM];
    size_t at = 0;
    for (size_t k = i + 1; k < end; k++)
        if (f->lines[k].is_word && !step_over(whole.bytes, whole.n_bytes, f->lines[k].columns[CONLLU_FORM], &at))
            return false;
    skip_spaces(whole.bytes, whole.n_bytes, &at);
    return at == whole.n_bytes;
}

static int add_word(PosGold *g, ConlluSlice form, size_t tags_line, Error *e)
{
    const ConlluSlice *c = g->file.lines[tags_line].columns;
    char name[8] = "";
    if (c[CONLLU_UPOS].n_bytes < sizeof name)
        memcpy(name, c[CONLLU_UPOS].bytes, c[CONLLU_UPOS].n_bytes);
    int upos = tagger_upos_find(name);
    if (upos < 0)
        return error_set(e, STATUS_FAILED, "%s: word %zu \"%.*s\": UPOS \"%.*s\", expected one of the 17 universal tags",
                         g->path, g->n_words + 1, (int)(form.n_bytes < 60 ? form.n_bytes : 60), form.bytes,
                         (int)(c[CONLLU_UPOS].n_bytes < 60 ? c[CONLLU_UPOS].n_bytes : 60), c[CONLLU_UPOS].bytes);
    g->words[g->n_words++] = (PosGoldWord){.form = form, .xpos = c[CONLLU_XPOS], .upos = upos, .line = tags_line};
    return STATUS_OK;
}

static int add_sentence(PosGold *g, const ConlluSentence *s, Error *e)
{
    const ConlluFile *f = &g->file;
    size_t end = s->first_line + s->n_lines, before = g->n_words;
    int status = STATUS_OK;
    for (size_t i = s->first_line; i < end && !status;) {
        const ConlluLine *line = &f->lines[i];
        const ConlluSlice id = line->columns[CONLLU_ID];
        size_t next = i + 1;
        if (!line->is_comment && line->is_word) {
            status = add_word(g, line->columns[CONLLU_FORM], i, e);
        } else if (!line->is_comment && memchr(id.bytes, '-', id.n_bytes)) {
            size_t range_end = end_of_range(f, i, end, id);
            if (range_end > i + 1 && !words_spell(f, i, range_end)) {
                status = add_word(g, line->columns[CONLLU_FORM], i + 1, e);
                next = range_end;
            }
        }
        i = next;
    }
    if (g->n_words > before)
        g->words[g->n_words - 1].is_sentence_end = true;
    return status;
}

int pos_gold_open(const char *path, PosGold *out, Error *e)
{
    *out = (PosGold){.path = path};
    int status = conllu_read(path, &out->file, e);
    if (status)
        return status;
    out->words = calloc(out->file.n_lines + 1, sizeof *out->words);
    if (!out->words)
        status = error_set(e, STATUS_FAILED, "%s: out of memory", path);
    for (size_t s = 0; s < out->file.n_sentences && !status; s++)
        status = add_sentence(out, &out->file.sentences[s], e);
    if (status)
        pos_gold_close(out);
    return status;
}

void pos_gold_close(PosGold *g)
{
    conllu_free(&g->file);
    free(g->words);
    free(g->spans);
    *g = (PosGold){0};
}

static int add_span(PosGold *g, size_t begin, size_t end, Error *e)
{
    if (g->n_spans == g->capacity) {
        size_t capacity = g->capacity ? g->capacity * 2 : 64, bytes = 0;
        WordSpan *grown = checked_mul(capacity, sizeof *grown, &bytes) ? realloc(g->spans, bytes) : NULL;
        if (!grown)
            return error_set(e, STATUS_FAILED, "%s: out of memory", g->path);
        g->spans = grown;
        g->capacity = capacity;
    }
    g->spans[g->n_spans++] = (WordSpan){.begin = begin, .end = end, .is_sentence_end = g->words[g->next].is_sentence_end};
    return STATUS_OK;
}

int pos_gold_take(PosGold *g, const char *text, size_t n_bytes, size_t row, Error *e)
{
    size_t at = 0;
    g->n_spans = 0;
    for (skip_spaces(text, n_bytes, &at); at < n_bytes; skip_spaces(text, n_bytes, &at)) {
        size_t begin = at, shown = n_bytes - at < 40 ? n_bytes - at : 40;
        if (g->next == g->n_words)
            return error_set(e, STATUS_FAILED, "%s: its %zu words end before row %zu, byte %zu: \"%.*s\"", g->path, g->n_words,
                             row, at, (int)shown, text + at);
        const PosGoldWord *word = &g->words[g->next];
        if (!step_over(text, n_bytes, word->form, &at))
            return error_set(e, STATUS_FAILED, "%s: word %zu is \"%.*s\", row %zu goes on with \"%.*s\"", g->path, g->next + 1,
                             (int)(word->form.n_bytes < 60 ? word->form.n_bytes : 60), word->form.bytes, row, (int)shown,
                             text + begin);
        int status = add_span(g, begin, at, e);
        if (status)
            return status;
        g->next++;
    }
    return STATUS_OK;
}
