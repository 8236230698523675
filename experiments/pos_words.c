/* pos_words.c: see pos_words.h. */
#include "experiments/pos_words.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/file.h"
#include "experiments/align.h"
#include "experiments/pos_gold.h"
#include "experiments/tagger.h"
#include "experiments/tagger_scores.h"

const char *const pos_status_names[POS_N_STATUS] = {"counted", "heading", "unknown", "unscored", "no_token", "mark"};
const char *const pos_band_names[POS_N_BANDS] = {"1 most frequent", "2", "3", "4", "5 rarest"};
const char *const pos_position_names[POS_N_POSITIONS] = {"1-10", "11-30", "31-100", "101-300", "301-"};

typedef struct Build {
    const PosRun *run;
    PosWords *out;
    Tagger *tagger;                /* NULL with gold tags */
    int xpos_of[POS_MAX_XPOS + 1]; /* the tagger's fine tag -> its name: it has one for each pair of UPOS and XPOS */
    PosGold gold;
    TaggerWord *forms; /* [capacity]: of the row at hand */
    TaggerTag *tags;
    size_t capacity;
} Build;

static int room_for(Build *b, size_t n, Error *e)
{
    PosWords *w = b->out;
    size_t all = 0, bytes = 0;
    if (n > b->capacity) {
        free(b->forms);
        free(b->tags);
        b->forms = calloc(n, sizeof *b->forms);
        b->tags = calloc(n, sizeof *b->tags);
        b->capacity = b->forms && b->tags ? n : 0;
        if (!b->capacity)
            return error_set(e, STATUS_FAILED, "pos: out of memory for a row of %zu words", n);
    }
    if (!checked_add(w->n_words, n, &all) || all >= INT32_MAX)
        return error_set(e, STATUS_FAILED, "pos: more than %d words", INT32_MAX - 1);
    if (all > w->capacity) {
        size_t capacity = all + all / 2;
        PosWord *grown = checked_mul(capacity, sizeof *grown, &bytes) ? realloc(w->words, bytes) : NULL;
        if (!grown)
            return error_set(e, STATUS_FAILED, "pos: out of memory for %zu words", all);
        w->words = grown;
        w->capacity = capacity;
    }
    return STATUS_OK;
}

/* Tags of the words that are no marks, sentence by sentence, into b->tags. */
static int tag_row(Build *b, const AlignRow *row, size_t *n_tags, Error *e)
{
    size_t n = 0, first = 0;
    int status = STATUS_OK;
    for (size_t i = 0; i < row->n_words && !status; i++) {
        const AlignWord *word = &row->words[i];
        if (word->is_mark)
            continue;
        b->forms[n++] = (TaggerWord){row->detokenised.text + word->text_begin, word->text_end - word->text_begin};
        if (word->is_sentence_end) {
            status = tagger_tag(b->tagger, b->forms + first, n - first, b->tags + first, e);
            first = n;
        }
    }
    if (!status && n > first)
        status = tagger_tag(b->tagger, b->forms + first, n - first, b->tags + first, e);
    for (size_t i = 0; i < n && !status; i++)
        if (b->tags[i].xpos >= 0 && b->tags[i].xpos <= POS_MAX_XPOS)
            b->tags[i].xpos = b->xpos_of[b->tags[i].xpos];
    *n_tags = n;
    return status;
}

static int intern_xpos(PosWords *w, ConlluSlice name, int *out, Error *e)
{
    for (size_t i = 0; i < w->n_xpos; i++)
        if (strlen(w->xpos_names[i]) == name.n_bytes && memcmp(w->xpos_names[i], name.bytes, name.n_bytes) == 0) {
            *out = (int)i;
            return STATUS_OK;
        }
    if (w->n_xpos == POS_MAX_XPOS || name.n_bytes > 32)
        return error_set(e, STATUS_FAILED, "tags: XPOS \"%.*s\" is one too many: expected at most %d different ones",
                         (int)(name.n_bytes < 32 ? name.n_bytes : 32), name.bytes, POS_MAX_XPOS);
    w->xpos_names[w->n_xpos] = arena_strndup(&w->arena, name.bytes, name.n_bytes);
    if (!w->xpos_names[w->n_xpos])
        return error_set(e, STATUS_FAILED, "tags: out of memory");
    *out = (int)w->n_xpos++;
    return STATUS_OK;
}

static int gold_row(Build *b, size_t *n_tags, Error *e)
{
    const PosGold *g = &b->gold;
    int status = STATUS_OK;
    for (size_t i = 0; i < g->n_spans && !status; i++) {
        const PosGoldWord *word = &g->words[g->next - g->n_spans + i];
        b->tags[i] = (TaggerTag){.upos = word->upos, .xpos = -1, .posterior = 1};
        if (!(word->xpos.n_bytes == 1 && word->xpos.bytes[0] == '_'))
            status = intern_xpos(b->out, word->xpos, &b->tags[i].xpos, e);
    }
    *n_tags = g->n_spans;
    return status;
}

static PosStatus status_of(const PosRow *row, const AlignWord *word)
{
    if (word->is_mark)
        return POS_MARK;
    if (row->kind == POS_ROW_HEADING || (row->kind == POS_ROW_PLAIN && word->is_heading))
        return POS_HEADING;
    if (word->is_unknown)
        return POS_UNKNOWN;
    return word->state == ALIGN_UNSCORED ? POS_UNSCORED : word->state == ALIGN_NO_TOKEN ? POS_NO_TOKEN : POS_COUNTED;
}

static unsigned char position_of(size_t place)
{
    return place < 10 ? 0 : place < 30 ? 1 : place < 100 ? 2 : place < 300 ? 3 : 4;
}

static void keep_row(Build *b, size_t index, const AlignRow *aligned)
{
    const PosRow *row = &b->run->rows[index];
    PosWords *w = b->out;
    for (size_t i = 0, place = 0; i < aligned->n_words; i++) {
        const AlignWord *a = &aligned->words[i];
        PosWord *word = &w->words[w->n_words++];
        *word = (PosWord){.row = (int32_t)index,
                          .begin = a->begin,
                          .end = a->end,
                          .upos = -1,
                          .xpos = -1,
                          .unit = -1,
                          .n_tokens = (int32_t)a->n_tokens,
                          .status = (unsigned char)status_of(row, a),
                          .opens_with_space = a->opens_with_space,
                          .is_followed_by_space = a->is_followed_by_space};
        if (a->n_tokens) {
            word->first = row->first_token + a->first;
            word->last = row->first_token + a->last;
            word->unit = b->run->unit[b->run->ledger.window[word->first]];
        }
        if (!a->is_mark) {
            word->position = position_of(place);
            word->upos = (int16_t)b->tags[place].upos;
            word->xpos = (int16_t)b->tags[place].xpos;
            word->posterior = b->tags[place].posterior;
            place++;
        }
        w->n_status[word->status]++;
    }
}

static int build_row(Build *b, size_t index, Error *e)
{
    const PosRun *run = b->run;
    const PosRow *row = &run->rows[index];
    DetokeniseOptions options = {.is_wikitext = run->is_wikitext, .unknown = b->tagger ? NULL : DETOKENISE_UNKNOWN};
    AlignRow aligned = {0};
    AlignTokens tokens = {.byte_start = run->ledger.byte_start + row->first_token,
                          .byte_end = run->ledger.byte_end + row->first_token,
                          .window = run->ledger.window + row->first_token,
                          .n = row->n_tokens};
    int32_t *word_of_token = b->out->word_of_token + row->first_token;
    size_t n_tags = 0, base = b->out->n_words;
    int status = STATUS_OK;
    if (!b->tagger) {
        Detokenised d;
        status = detokenise(row->text, row->len, &options, &d, e);
        if (!status)
            status = pos_gold_take(&b->gold, d.text, d.n_bytes, index, e);
        detokenise_free(&d);
    }
    if (!status)
        status = align_words(row->text, row->len, &options, b->tagger ? NULL : b->gold.spans, b->gold.n_spans, &aligned, e);
    if (!status)
        status = align_tokens(&aligned, &tokens, word_of_token, e);
    if (status)
        error_prefix(e, status, "%s: row %zu", run->dir, index);
    if (!status)
        status = room_for(b, aligned.n_words + 1, e);
    if (!status)
        status = b->tagger ? tag_row(b, &aligned, &n_tags, e) : gold_row(b, &n_tags, e);
    if (!status)
        keep_row(b, index, &aligned);
    for (size_t t = 0; !status && t < row->n_tokens; t++) {
        if (word_of_token[t] < 0)
            b->out->n_tokens_without_word++;
        else
            word_of_token[t] += (int32_t)base;
    }
    align_row_free(&aligned);
    return status;
}

/* ---- frequency ---- */

typedef struct Form {
    const char *bytes;
    size_t n_bytes, word, count;
} Form;

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

static int by_bytes(const void *a, const void *b)
{
    const Form *x = a, *y = b;
    size_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    for (size_t i = 0; i < n; i++)
        if (lower(x->bytes[i]) != lower(y->bytes[i]))
            return lower(x->bytes[i]) < lower(y->bytes[i]) ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static int by_count(const void *a, const void *b)
{
    const Form *x = a, *y = b;
    return x->count != y->count ? (x->count > y->count ? -1 : 1) : by_bytes(a, b);
}

/* Counted words, ordered by how often their form (bytes of the row, ASCII letters in lower case) occurs among them, in fifths: all
 * words of a form go where its middle falls. */
static int add_bands(const PosRun *run, PosWords *w, Error *e)
{
    size_t n = (size_t)w->n_status[POS_COUNTED], at = 0;
    Form *forms = calloc(n + 1, sizeof *forms);
    if (!forms)
        return error_set(e, STATUS_FAILED, "pos: out of memory for %zu words", n);
    for (size_t i = 0; i < w->n_words; i++)
        if (w->words[i].status == POS_COUNTED)
            forms[at++] =
                (Form){run->rows[w->words[i].row].text + w->words[i].begin, w->words[i].end - w->words[i].begin, i, 0};
    qsort(forms, n, sizeof *forms, by_bytes);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && by_bytes(&forms[i], &forms[end]) == 0;)
            end++;
        for (size_t k = i; k < end; k++)
            forms[k].count = end - i;
    }
    qsort(forms, n, sizeof *forms, by_count);
    for (size_t i = 0, end; i < n; i = end) {
        end = i + forms[i].count;
        unsigned char band = (unsigned char)(POS_N_BANDS * (i + end) / (2 * n));
        for (size_t k = i; k < end; k++)
            w->words[forms[k].word].band = band;
    }
    free(forms);
    return STATUS_OK;
}

/* ---- all rows ---- */

static int open_tags(Build *b, const char *gold, Error *e)
{
    PosWords *w = b->out;
    if (gold) {
        char hex[65];
        int status = pos_gold_open(gold, &b->gold, e);
        if (!status)
            status = file_sha256(gold, hex, e);
        w->is_gold = true;
        if (!status)
            snprintf(w->tags, sizeof w->tags, "gold %.60s sha256 %s", file_basename(gold), hex);
        return status;
    }
    int status = tagger_open(&b->tagger, e);
    if (status)
        return status;
    for (int i = 0; i < POS_MAX_XPOS && !status; i++) { /* names end at the first "_" */
        const char *name = tagger_xpos_name(b->tagger, i);
        if (strcmp(name, "_") == 0)
            break;
        status = intern_xpos(w, (ConlluSlice){name, strlen(name)}, &b->xpos_of[i], e);
    }
    if (status)
        return status;
    snprintf(w->tags, sizeof w->tags, "tagger %.16s", tagger_scores_version());
    return STATUS_OK;
}

int pos_words_build(const PosRun *run, const char *gold, PosWords *out, Error *e)
{
    Build b = {.run = run, .out = out};
    *out = (PosWords){.word_of_token = malloc((run->ledger.n_tokens + 1) * sizeof *out->word_of_token)};
    int status = out->word_of_token ? open_tags(&b, gold, e)
                                    : error_set(e, STATUS_FAILED, "pos: out of memory for %zu tokens", run->ledger.n_tokens);
    for (size_t i = 0; i < run->n_rows && !status; i++)
        status = build_row(&b, i, e);
    if (!status)
        status = add_bands(run, out, e);
    tagger_close(b.tagger);
    pos_gold_close(&b.gold);
    free(b.forms);
    free(b.tags);
    if (status)
        pos_words_free(out);
    return status;
}

void pos_words_free(PosWords *w)
{
    free(w->words);
    free(w->word_of_token);
    arena_free(&w->arena);
    *w = (PosWords){0};
}

/* Penn's tags hold commas and quotes. */
static void put_field(StrBuf *out, const char *s)
{
    bool quoted = strpbrk(s, ",\"") != NULL;
    if (quoted)
        strbuf_putc(out, '"');
    for (; *s; s++) {
        if (*s == '"')
            strbuf_putc(out, '"');
        strbuf_putc(out, *s);
    }
    if (quoted)
        strbuf_putc(out, '"');
}

int pos_words_write(const PosRun *run, const PosWords *words, Error *e)
{
    StrBuf out = {0};
    strbuf_puts(&out, "row,byte_start,byte_end,upos,xpos,posterior,status,first_token,n_tokens,unit,frequency_band,"
                      "row_position\n");
    for (size_t i = 0; i < words->n_words; i++) {
        const PosWord *w = &words->words[i];
        bool is_counted = w->status == POS_COUNTED;
        strbuf_printf(&out, "%d,%zu,%zu,%s,", w->row, w->begin, w->end, w->upos >= 0 ? tagger_upos_name(w->upos) : "");
        put_field(&out, w->xpos >= 0 ? words->xpos_names[w->xpos] : "");
        strbuf_putc(&out, ',');
        if (w->status != POS_MARK)
            strbuf_json_number(&out, w->posterior);
        strbuf_printf(&out, ",%s,", pos_status_names[w->status]);
        if (w->n_tokens)
            strbuf_printf(&out, "%zu", w->first);
        strbuf_printf(&out, ",%d,", w->n_tokens);
        if (w->n_tokens)
            strbuf_printf(&out, "%d", w->unit);
        strbuf_printf(&out, ",%s,%s\n", is_counted ? pos_band_names[w->band] : "",
                      w->status != POS_MARK ? pos_position_names[w->position] : "");
    }
    int status = file_write_text(&out, e, "%s/pos_words.csv", run->dir);
    strbuf_free(&out);
    return status;
}
