/* conllu.c: reader of CoNLL-U; see conllu.h. */
#include "experiments/conllu.h"

#include "engine/base/checked.h"

#include <stdlib.h>
#include <string.h>

void conllu_free(ConlluFile *file)
{
    dataset_unpack_free(&file->bytes);
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

/* Fills lines and sentences from file->bytes. */
static int parse(ConlluFile *file, const char *name, Error *e)
{
    size_t line_capacity = 0, sentence_capacity = 0, number = 0;
    bool is_open = false;
    int status = STATUS_OK;
    if (file->bytes.size_bytes == 0)
        return STATUS_OK;
    const char *at = file->bytes.data, *end = at + file->bytes.size_bytes;
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
    char *copy = malloc(n_bytes ? n_bytes : 1);
    if (!copy)
        return error_set(e, STATUS_FAILED, "%s: out of memory", name);
    if (n_bytes)
        memcpy(copy, bytes, n_bytes);
    file->bytes = (DatasetBytes){.data = copy, .size_bytes = n_bytes};
    int status = parse(file, name, e);
    if (status)
        conllu_free(file);
    return status;
}

int conllu_read(const char *path, ConlluFile *file, Error *e)
{
    *file = (ConlluFile){0};
    int status = dataset_unpack(path, DATASET_FORMAT_TEXT, &file->bytes, e);
    if (!status)
        status = parse(file, path, e);
    if (status)
        conllu_free(file);
    return status;
}
