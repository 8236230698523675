/* conllu.c: reader of CoNLL-U; see conllu.h. */
#include "experiments/conllu.h"

#include "engine/base/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

void conllu_free(ConlluFile *file)
{
    free(file->text);
    free(file->lines);
    free(file->sentences);
    *file = (ConlluFile){0};
}

/* Room for one more item in an array that doubles. */
static bool grow(void **items, size_t n, size_t *capacity, size_t item_bytes)
{
    size_t bytes, more = *capacity ? *capacity : 64;
    if (n < *capacity)
        return true;
    if (*capacity && !checked_mul(more, 2, &more))
        return false;
    if (!checked_mul(more, item_bytes, &bytes))
        return false;
    void *grown = realloc(*items, bytes);
    if (!grown)
        return false;
    *items = grown;
    *capacity = more;
    return true;
}

static int split_columns(ConlluLine *line, const char *begin, const char *end, const char *name, size_t number, Error *e)
{
    const char *at = begin;
    for (int c = 0; c < CONLLU_N_COLUMNS; c++) {
        const char *tab = c + 1 < CONLLU_N_COLUMNS ? memchr(at, '\t', (size_t)(end - at)) : end;
        if (!tab)
            return error_set(e, STATUS_FAILED, "%s line %zu: expected %d columns, found %d", name, number, CONLLU_N_COLUMNS,
                             c + 1);
        line->columns[c] = (ConlluSlice){at, (size_t)(tab - at)};
        at = tab + (tab < end);
    }
    if (line->columns[CONLLU_ID].n_bytes == 0 || line->columns[CONLLU_FORM].n_bytes == 0)
        return error_set(e, STATUS_FAILED, "%s line %zu: expected an ID and a FORM, found an empty column", name, number);
    line->is_word = !memchr(line->columns[0].bytes, '-', line->columns[0].n_bytes) &&
                    !memchr(line->columns[0].bytes, '.', line->columns[0].n_bytes);
    return STATUS_OK;
}

/* Takes over file->text. */
static int parse(ConlluFile *file, const char *name, Error *e)
{
    size_t line_capacity = 0, sentence_capacity = 0, number = 0;
    const char *at = file->text, *end = file->text + file->n_bytes;
    bool is_open = false;
    int status = STATUS_OK;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end, *next = newline ? newline + 1 : end;
        number++;
        if (stop > at && stop[-1] == '\r')
            stop--;
        if (stop == at) {
            is_open = false;
            at = next;
            continue;
        }
        if (!grow((void **)&file->lines, file->n_lines, &line_capacity, sizeof *file->lines) ||
            !grow((void **)&file->sentences, file->n_sentences, &sentence_capacity, sizeof *file->sentences))
            return error_set(e, STATUS_FAILED, "%s: out of memory", name);
        ConlluLine *line = &file->lines[file->n_lines];
        *line = (ConlluLine){.is_comment = *at == '#'};
        if (line->is_comment)
            line->columns[0] = (ConlluSlice){at, (size_t)(stop - at)};
        else if ((status = split_columns(line, at, stop, name, number, e)))
            return status;
        if (!is_open)
            file->sentences[file->n_sentences++] = (ConlluSentence){.first_line = file->n_lines};
        is_open = true;
        ConlluSentence *sentence = &file->sentences[file->n_sentences - 1];
        sentence->n_lines++;
        sentence->n_words += line->is_word;
        file->n_words += line->is_word;
        file->n_lines++;
        at = next;
    }
    return STATUS_OK;
}

int conllu_parse(const char *bytes, size_t n_bytes, const char *name, ConlluFile *file, Error *e)
{
    *file = (ConlluFile){0};
    file->text = malloc(n_bytes + 1);
    if (!file->text)
        return error_set(e, STATUS_FAILED, "%s: out of memory", name);
    if (n_bytes)
        memcpy(file->text, bytes, n_bytes);
    file->n_bytes = n_bytes;
    int status = parse(file, name, e);
    if (status)
        conllu_free(file);
    return status;
}

int conllu_read(const char *path, ConlluFile *file, Error *e)
{
    size_t capacity = 0;
    int status = STATUS_OK, found;
    *file = (ConlluFile){0};
    gzFile in = gzopen(path, "rb");
    if (!in)
        return error_set(e, STATUS_FAILED, "%s: %s", path, errno ? strerror(errno) : "out of memory");
    do {
        if (capacity - file->n_bytes < 1 << 16) {
            char *grown = realloc(file->text, capacity = capacity * 2 + (1 << 20));
            if (!grown) {
                status = error_set(e, STATUS_FAILED, "%s: out of memory", path);
                goto fail;
            }
            file->text = grown;
        }
        found = gzread(in, file->text + file->n_bytes, 1 << 16);
        if (found < 0) {
            status = error_set(e, STATUS_FAILED, "%s: cannot be read: %s", path, gzerror(in, &found));
            goto fail;
        }
        file->n_bytes += (size_t)found;
    } while (found > 0);
    gzclose(in);
    status = parse(file, path, e);
    if (status)
        conllu_free(file);
    return status;
fail:
    gzclose(in);
    conllu_free(file);
    return status;
}
