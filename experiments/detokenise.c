/* detokenise.c: see detokenise.h. A line is taken piece by piece (a piece is what stands between spaces); each piece says whether
 * it leans on its neighbour to the left, to the right, or on neither. */
#include "experiments/detokenise.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

typedef struct Piece {
    size_t begin, end;
} Piece;

typedef struct Work {
    const char *text;
    Detokenised *out;
    const char *unknown;
    bool in_double, in_single; /* inside quotes of this line */
    bool glue;                 /* the next piece follows without a space */
    bool line_has_text;
    unsigned char flags; /* of what is written: DETOKENISE_IS_HEADING */
} Work;

static bool equals(const Work *w, Piece p, const char *word)
{
    return strlen(word) == p.end - p.begin && memcmp(w->text + p.begin, word, p.end - p.begin) == 0;
}

static bool is_one_of(const Work *w, Piece p, const char *const *words)
{
    for (; *words; words++)
        if (equals(w, p, *words))
            return true;
    return false;
}

static void put(Work *w, char c, size_t begin, size_t end, unsigned flags)
{
    Detokenised *d = w->out;
    d->text[d->n_bytes] = c;
    d->origin[d->n_bytes] = (DetokeniseSpan){begin, end};
    d->flags[d->n_bytes++] = (unsigned char)(w->flags | flags);
}

/* "@-@", "@,@", "@.@" and their like: one byte of punctuation between two @. */
static bool is_joiner(const Work *w, Piece p)
{
    const char *s = w->text + p.begin;
    return p.end - p.begin == 3 && s[0] == '@' && s[2] == '@' && strchr("-,./:;'+*&", s[1]) && s[1];
}

static bool leans_left(Work *w, Piece p)
{
    static const char *const closers[] = {",",  ".",  ";",  ":",   "?",   "!",   ")",  "]",  "}",  "%",   "...",
                                          "'s", "'S", "'t", "'re", "'ve", "'ll", "'d", "'m", "'T", "n't", "\xe2\x80\x9d",
                                          NULL};
    if (is_one_of(w, p, closers))
        return true;
    if (equals(w, p, "\""))
        return w->in_double;
    size_t n = w->out->n_bytes;
    if (equals(w, p, "'")) /* the ships ' masts; or the end of what '...' opened */
        return w->in_single || (n && (w->out->text[n - 1] | 32) == 's');
    return false;
}

static bool leans_right(Work *w, Piece p, bool left)
{
    static const char *const openers[] = {"(", "[", "{", "$", "\xc2\xa3", "\xe2\x82\xac", "\xc2\xa5", "\xe2\x80\x9c", NULL};
    if (equals(w, p, "\"")) {
        w->in_double = !w->in_double;
        return w->in_double;
    }
    if (equals(w, p, "'")) {
        w->in_single = !left;
        return !left;
    }
    return is_one_of(w, p, openers);
}

static void put_piece(Work *w, Piece p)
{
    bool joins = is_joiner(w, p), left = joins || leans_left(w, p);
    if (w->line_has_text && !w->glue && !left)
        put(w, ' ', p.begin, p.begin, 0);
    w->glue = leans_right(w, p, left) || joins;
    w->line_has_text = true;
    if (joins) {
        put(w, w->text[p.begin + 1], p.begin, p.end, 0);
    } else if (equals(w, p, DETOKENISE_UNKNOWN)) {
        for (size_t i = 0; w->unknown[i]; i++)
            put(w, w->unknown[i], i ? p.end : p.begin, p.end, DETOKENISE_IS_UNKNOWN);
    } else {
        for (size_t i = p.begin; i < p.end; i++)
            put(w, w->text[i], i, i + 1, 0);
    }
}

/* The next piece of [*at, end); false at the end. */
static bool next_piece(const char *text, size_t *at, size_t end, Piece *p)
{
    while (*at < end && text[*at] == ' ')
        ++*at;
    p->begin = *at;
    while (*at < end && text[*at] != ' ')
        ++*at;
    p->end = *at;
    return p->end > p->begin;
}

static int add_mark(Detokenised *d, Piece p, Error *e)
{
    if (d->n_marks == d->capacity) {
        size_t capacity = d->capacity ? d->capacity * 2 : 8, bytes = 0;
        DetokeniseSpan *grown =
            checked_mul(capacity, sizeof *grown, &bytes) ? (DetokeniseSpan *)realloc(d->marks, bytes) : NULL;
        if (!grown)
            return error_set(e, STATUS_FAILED, "detokenise: out of memory for %zu marks", capacity);
        d->marks = grown;
        d->capacity = capacity;
    }
    d->marks[d->n_marks++] = (DetokeniseSpan){p.begin, p.end};
    return STATUS_OK;
}

/* Marks at both ends of ` = = Title = = `: as many on either side, something between them. 0: no heading. */
static size_t heading_depth(const char *text, size_t begin, size_t end)
{
    size_t at = begin, n = 0, before = 0, run = 0;
    bool is_front = true;
    Piece p;
    for (; next_piece(text, &at, end, &p); n++) {
        bool is_mark = p.end - p.begin == 1 && text[p.begin] == '=';
        is_front = is_front && is_mark;
        before += is_front;
        run = is_mark ? run + 1 : 0;
    }
    return before && before == run && n > 2 * before ? before : 0;
}

static int put_line(Work *w, size_t begin, size_t end, Error *e)
{
    size_t depth = heading_depth(w->text, begin, end), at = begin, n = 0, last = 0;
    Piece p;
    for (size_t scan = begin; next_piece(w->text, &scan, end, &p);)
        last++;
    w->in_double = w->in_single = w->glue = w->line_has_text = false;
    w->flags = depth ? DETOKENISE_IS_HEADING : 0;
    for (; next_piece(w->text, &at, end, &p); n++) {
        if (n < depth || n >= last - depth) {
            int status = add_mark(w->out, p, e);
            if (status)
                return status;
        } else {
            put_piece(w, p);
        }
    }
    return STATUS_OK;
}

int detokenise(const char *text, size_t n_bytes, const DetokeniseOptions *options, Detokenised *out, Error *e)
{
    *out = (Detokenised){0};
    Work w = {.text = text, .out = out, .unknown = options->unknown ? options->unknown : "Unk"};
    /* A piece and the space before it come from no fewer bytes, but for a stand-in longer than <unk> and the first piece. */
    size_t grows = strlen(w.unknown) + 2, n = 0, bytes = 0;
    if (!checked_mul(n_bytes, grows / (sizeof DETOKENISE_UNKNOWN - 1) + 1, &n) || !checked_add(n, grows, &n) ||
        !checked_mul(n, sizeof *out->origin, &bytes))
        return error_set(e, STATUS_FAILED, "detokenise: %zu bytes are too many", n_bytes);
    out->text = malloc(n);
    out->origin = malloc(bytes);
    out->flags = malloc(n);
    int status = out->text && out->origin && out->flags
                     ? STATUS_OK
                     : error_set(e, STATUS_FAILED, "detokenise: out of memory for %zu bytes", n_bytes);
    for (size_t at = 0; !status && at < n_bytes;) {
        size_t end = at;
        while (end < n_bytes && text[end] != '\n')
            end++;
        if (options->is_wikitext)
            status = put_line(&w, at, end, e);
        for (size_t i = at; !options->is_wikitext && i < end; i++)
            put(&w, text[i], i, i + 1, 0);
        if (!status && end < n_bytes)
            put(&w, '\n', end, end + 1, 0);
        at = end + 1;
    }
    if (status)
        detokenise_free(out);
    else
        out->text[out->n_bytes] = '\0';
    return status;
}

void detokenise_free(Detokenised *d)
{
    free(d->text);
    free(d->origin);
    free(d->flags);
    free(d->marks);
    *d = (Detokenised){0};
}
