/* tag.c: see tag.h. */
#include "experiments/tag.h"

#include "experiments/conllu.h"
#include "experiments/tagger.h"
#include "experiments/word_split.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* A word's form in a column: tabs and line ends cannot stand there, and cannot be in a word. */
static void put(FILE *out, const char *bytes, size_t n)
{
    fwrite(bytes, 1, n, out);
}

static int tag_treebank(const Tagger *tagger, const char *path, FILE *out, Error *e)
{
    ConlluFile file;
    TaggerWord *words = NULL;
    TaggerTag *tags = NULL;
    int status = conllu_read(path, &file, e);
    if (status)
        return status;
    words = calloc(file.n_words + 1, sizeof *words);
    tags = calloc(file.n_words + 1, sizeof *tags);
    if (!words || !tags)
        status = error_set(e, STATUS_FAILED, "%s: out of memory", path);
    for (size_t s = 0; s < file.n_sentences && !status; s++) {
        const ConlluSentence *sentence = &file.sentences[s];
        const ConlluLine *lines = file.lines + sentence->first_line;
        size_t n = 0;
        for (size_t i = 0; i < sentence->n_lines; i++)
            if (lines[i].is_word)
                words[n++] = (TaggerWord){lines[i].columns[CONLLU_FORM].bytes, lines[i].columns[CONLLU_FORM].n_bytes};
        status = tagger_tag(tagger, words, n, tags, e);
        n = 0;
        for (size_t i = 0; i < sentence->n_lines && !status; i++) {
            const ConlluSlice *c = lines[i].columns;
            put(out, c[0].bytes, c[0].n_bytes);
            if (!lines[i].is_comment) {
                fputc('\t', out);
                put(out, c[CONLLU_FORM].bytes, c[CONLLU_FORM].n_bytes);
                const ConlluSlice misc = c[CONLLU_MISC];
                bool is_empty = misc.n_bytes == 1 && misc.bytes[0] == '_';
                if (lines[i].is_word) {
                    fprintf(out, "\t_\t%s\t%s\t_\t_\t_\t_\t", tagger_upos_name(tags[n].upos),
                            tagger_xpos_name(tagger, tags[n].xpos));
                    if (!is_empty) {
                        put(out, misc.bytes, misc.n_bytes);
                        fputc('|', out);
                    }
                    fprintf(out, "Prob=%.3f", tags[n++].posterior);
                } else {
                    fputs("\t_\t_\t_\t_\t_\t_\t_\t", out);
                    put(out, misc.bytes, misc.n_bytes);
                }
            }
            fputc('\n', out);
        }
        fputc('\n', out);
    }
    free(words);
    free(tags);
    conllu_free(&file);
    return status;
}

static int read_text(const char *path, char **text, size_t *n_bytes, Error *e)
{
    size_t capacity = 0;
    int found;
    *text = NULL;
    *n_bytes = 0;
    errno = 0;
    gzFile in = gzopen(path, "rb");
    if (!in)
        return error_set(e, STATUS_FAILED, "%s: %s", path, errno ? strerror(errno) : "out of memory");
    do {
        if (capacity - *n_bytes < 1 << 16) {
            char *grown = realloc(*text, capacity = capacity * 2 + (1 << 20));
            if (!grown) {
                gzclose(in);
                return error_set(e, STATUS_FAILED, "%s: out of memory", path);
            }
            *text = grown;
        }
        found = gzread(in, *text + *n_bytes, 1 << 16);
        if (found < 0) {
            int status = error_set(e, STATUS_FAILED, "%s: cannot be read: %s", path, gzerror(in, &found));
            gzclose(in);
            return status;
        }
        *n_bytes += (size_t)found;
    } while (found > 0);
    gzclose(in);
    return STATUS_OK;
}

static int tag_text(const Tagger *tagger, const char *path, FILE *out, Error *e)
{
    char *text = NULL;
    size_t n_bytes;
    WordList list = {0};
    TaggerWord *words = NULL;
    TaggerTag *tags = NULL;
    int status = read_text(path, &text, &n_bytes, e);
    if (!status)
        status = word_split(text, n_bytes, &list, e);
    if (status)
        goto done;
    words = calloc(list.n_words + 1, sizeof *words);
    tags = calloc(list.n_words + 1, sizeof *tags);
    if (!words || !tags) {
        status = error_set(e, STATUS_FAILED, "%s: out of memory", path);
        goto done;
    }
    for (size_t first = 0, i = 0; i < list.n_words; i++) {
        words[i] = (TaggerWord){text + list.words[i].begin, list.words[i].end - list.words[i].begin};
        if (!list.words[i].is_sentence_end)
            continue;
        if ((status = tagger_tag(tagger, words + first, i + 1 - first, tags + first, e)))
            goto done;
        for (size_t k = first; k <= i; k++) {
            fprintf(out, "%zu\t", k - first + 1);
            put(out, words[k].bytes, words[k].n_bytes);
            fprintf(out, "\t_\t%s\t%s\t_\t_\t_\t_\t%sProb=%.3f|Start=%zu|End=%zu\n", tagger_upos_name(tags[k].upos),
                    tagger_xpos_name(tagger, tags[k].xpos), list.words[k].is_space_after ? "" : "SpaceAfter=No|",
                    tags[k].posterior, list.words[k].begin, list.words[k].end);
        }
        fputc('\n', out);
        first = i + 1;
    }
done:
    free(words);
    free(tags);
    word_split_free(&list);
    free(text);
    return status;
}

int strata_tag(const StrataTagOptions *options, Error *e)
{
    FILE *out = options->out ? options->out : stdout;
    Tagger *tagger;
    int status = tagger_open(&tagger, e);
    if (status)
        return status;
    status = options->is_conllu ? tag_treebank(tagger, options->path, out, e) : tag_text(tagger, options->path, out, e);
    tagger_close(tagger);
    if (!status && (fflush(out) || ferror(out)))
        status = error_set(e, STATUS_FAILED, "the tags cannot be written: %s", strerror(errno));
    return status;
}
