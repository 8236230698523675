/* pair_review.c: see pair_review.h. */
#include "experiments/pair_review.h"

#include <string.h>
#include <strings.h>

#include "engine/base/csv.h"
#include "engine/base/file.h"

enum { MAX_SHEET_BYTES = 1 << 28, ACCEPTED = 1, REFUSED = 2, UNDECIDED = 3 };

/* Numbers of columns, and each decision's place in a table of pairs: the key is a, a line's end, b. */
typedef struct Sheet {
    int accept, note, a, b;
    PairCounts decisions; /* one of the numbers above; 0: not on the sheet */
    PairCounts notes;     /* offset + 1 into note_texts */
    StrBuf note_texts;
    size_t n_rows;
} Sheet;

static int no_memory(Error *e)
{
    return error_set(e, STATUS_FAILED, "no memory for the sheet of pairs");
}

static int write_sheet(PairsRun *run, const char *path, Error *e)
{
    StrBuf b = {0};
    strbuf_puts(&b, "accept,note,category,template,error_side,word_a,word_b,a,b\n");
    for (size_t i = 0; i < run->set.n_pairs; i++) {
        const Pair *p = &run->set.pairs[i];
        const char side[2] = {p->error_side, 0};
        const char *fields[] = {pair_category_name(p->category),
                                p->template_id,
                                p->error_side ? side : "none",
                                p->words[0],
                                p->words[1],
                                p->a,
                                p->b};
        strbuf_putc(&b, ',');
        for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
            strbuf_putc(&b, ',');
            strbuf_csv_text(&b, fields[k]);
        }
        strbuf_putc(&b, '\n');
    }
    int status = b.failed ? no_memory(e) : file_write_atomic(path, b.data, b.len, e);
    strbuf_free(&b);
    if (!status)
        strbuf_printf(&run->notes,
                      "%s was written: put n into the column accept of each pair that is wrong, then give the same command "
                      "again with --force\n",
                      path);
    return status;
}

static size_t *entry(PairCounts *c, const char *a, const char *b)
{
    StrBuf key = {0};
    strbuf_puts(&key, a);
    strbuf_putc(&key, '\n');
    strbuf_puts(&key, b);
    size_t *at = key.failed ? NULL : pair_counts_at(c, key.data, key.len);
    strbuf_free(&key);
    return at;
}

static int decision_of(const char *s)
{
    static const char *const yes[] = {"y", "yes", "1", "ok", "accept", "true"}, *const no[] = {"n", "no",     "0",
                                                                                               "x", "reject", "false"};
    for (size_t i = 0; i < 6; i++) {
        if (strcasecmp(s, yes[i]) == 0)
            return ACCEPTED;
        if (strcasecmp(s, no[i]) == 0)
            return REFUSED;
    }
    return s[strspn(s, " ")] ? -1 : UNDECIDED;
}

static int read_row(Sheet *s, const CsvReader *r, Error *e)
{
    const char *accept = csv_field(r, (size_t)s->accept), *a = csv_field(r, (size_t)s->a), *b = csv_field(r, (size_t)s->b);
    int decision = decision_of(accept);
    if (decision < 0)
        return error_set(e, STATUS_USAGE, "%s: line %zu: accept is \"%.20s\", expected yes, no, or nothing", r->name, r->line,
                         accept);
    size_t *at = entry(&s->decisions, a, b), *note = entry(&s->notes, a, b);
    if (!at || !note)
        return no_memory(e);
    *at = (size_t)decision;
    *note = s->note_texts.len + 1;
    strbuf_puts(&s->note_texts, s->note >= 0 ? csv_field(r, (size_t)s->note) : "");
    strbuf_putc(&s->note_texts, 0);
    s->n_rows++;
    return s->note_texts.failed ? no_memory(e) : STATUS_OK;
}

static int read_sheet(const char *path, Sheet *s, Error *e)
{
    StrBuf file = {0};
    CsvReader r;
    bool got = false;
    int status = file_read(path, MAX_SHEET_BYTES, &file, e);
    csv_open(&r, path, file.data ? file.data : "", file.len);
    if (!status)
        status = csv_next(&r, &got, e);
    for (size_t i = 0; !status && i < r.n_fields; i++) {
        const char *name = csv_field(&r, i);
        int *column = strcmp(name, "accept") == 0 ? &s->accept
                      : strcmp(name, "note") == 0 ? &s->note
                      : strcmp(name, "a") == 0    ? &s->a
                      : strcmp(name, "b") == 0    ? &s->b
                                                  : NULL;
        if (column)
            *column = (int)i;
    }
    if (!status && (s->accept < 0 || s->a < 0 || s->b < 0))
        status = error_set(e, STATUS_USAGE,
                           "%s: line 1: expected the columns accept, a and b, as strata pairs --review writes them", path);
    while (!status && !(status = csv_next(&r, &got, e)) && got)
        status = read_row(s, &r, e);
    csv_close(&r);
    strbuf_free(&file);
    return status;
}

static int apply_sheet(PairsRun *run, Sheet *s, const char *path, Error *e)
{
    size_t n[4] = {0}, n_kept = 0;
    int status = STATUS_OK;
    for (size_t i = 0; i < run->set.n_pairs && !status; i++) {
        const Pair *p = &run->set.pairs[i];
        const size_t *at = entry(&s->decisions, p->a, p->b), *note = entry(&s->notes, p->a, p->b);
        if (!at || !note)
            return no_memory(e);
        n[*at]++;
        if (*at != REFUSED) {
            run->set.pairs[n_kept++] = *p;
            continue;
        }
        run->review_refused[p->category]++;
        const PairCandidate c = {.a = p->a,
                                 .b = p->b,
                                 .a_len = strlen(p->a),
                                 .b_len = strlen(p->b),
                                 .template_id = p->template_id,
                                 .template_len = strlen(p->template_id)};
        char reason[200];
        const char *said = s->note_texts.data + *note - 1;
        snprintf(reason, sizeof reason, "refused in review%s%.150s", said[0] ? ": " : "", said);
        status = pair_set_reject(&run->set, &c, pair_category_name(p->category), reason, e);
    }
    run->set.n_pairs = n_kept;
    strbuf_printf(&run->notes, "%s: %zu pairs accepted, %zu refused, %zu without a decision, %zu not on the sheet", path,
                  n[ACCEPTED], n[REFUSED], n[UNDECIDED], n[0]);
    size_t n_found = n[ACCEPTED] + n[REFUSED] + n[UNDECIDED];
    if (s->n_rows > n_found)
        strbuf_printf(&run->notes, "; %zu of its rows are none of these pairs", s->n_rows - n_found);
    strbuf_puts(&run->notes, "\n");
    strbuf_printf(&run->meta, ", \"review\": {\"accepted\": %zu, \"refused\": %zu, \"undecided\": %zu, \"absent\": %zu}",
                  n[ACCEPTED], n[REFUSED], n[UNDECIDED], n[0]);
    return status;
}

int pair_review_apply(PairsRun *run, Error *e)
{
    const char *path = run->o->review;
    if (!path)
        return STATUS_OK;
    if (!file_exists(path))
        return write_sheet(run, path, e);
    Sheet s = {.accept = -1, .note = -1, .a = -1, .b = -1};
    int status = read_sheet(path, &s, e);
    if (!status)
        status = apply_sheet(run, &s, path, e);
    pair_counts_free(&s.decisions);
    pair_counts_free(&s.notes);
    strbuf_free(&s.note_texts);
    return status;
}
