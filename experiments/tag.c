/* tag.c: `strata tag`: part-of-speech tags of a text or of a tokenised treebank, as CoNLL-U on a stream.
 *
 * A text is split by word_split.h; of a CoNLL-U file only ID, FORM and MISC are read, comments, ranges and empty nodes are kept.
 * UPOS and XPOS are written, the other columns are `_`, and MISC gains `Prob=0.987`, the posterior of UPOS; for a text also
 * `Start=`/`End=`, the word's byte span in the unpacked file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/conllu.h"
#include "experiments/studies.h"
#include "experiments/tagger.h"
#include "experiments/word_split.h"

/* The words of a whole file and room for their tags. */
typedef struct Work {
    TaggerWord *words;
    TaggerTag *tags;
} Work;

static int work_make(Work *work, size_t n_words, const char *path, Error *e)
{
    work->words = calloc(n_words + 1, sizeof *work->words);
    work->tags = calloc(n_words + 1, sizeof *work->tags);
    if (!work->words || !work->tags)
        return error_set(e, STATUS_FAILED, "%s: out of memory for %zu words", path, n_words);
    return STATUS_OK;
}

static void work_free(Work *work)
{
    free(work->words);
    free(work->tags);
}

static int stopped(const StrataTagOptions *o, Error *e)
{
    if (o->stop && *o->stop)
        return error_set(e, STATUS_INTERRUPTED, "%s: interrupted", o->path);
    return STATUS_OK;
}

static void put(FILE *out, ConlluSlice slice)
{
    fwrite(slice.bytes, 1, slice.n_bytes, out);
}

/* LEMMA to DEPS of a tagged word: tabs before, between and after. */
static void put_tags(FILE *out, const Tagger *tagger, TaggerTag tag)
{
    fprintf(out, "\t_\t%s\t%s\t_\t_\t_\t_\t", tagger_upos_name(tag.upos), tagger_xpos_name(tagger, tag.xpos));
}

static void put_line(FILE *out, const ConlluLine *line, const Tagger *tagger, TaggerTag tag)
{
    const ConlluSlice misc = line->columns[CONLLU_MISC];
    put(out, line->columns[CONLLU_ID]); /* the whole line, of a comment */
    if (line->is_comment) {
        fputc('\n', out);
        return;
    }
    fputc('\t', out);
    put(out, line->columns[CONLLU_FORM]);
    if (line->is_word) {
        put_tags(out, tagger, tag);
        if (misc.n_bytes > 1 || (misc.n_bytes == 1 && misc.bytes[0] != '_')) {
            put(out, misc);
            fputc('|', out);
        }
        fprintf(out, "Prob=%.3f\n", tag.posterior);
    } else {
        fputs("\t_\t_\t_\t_\t_\t_\t_\t", out);
        put(out, misc);
        fputc('\n', out);
    }
}

static int tag_treebank(const StrataTagOptions *o, const Tagger *tagger, FILE *out, Error *e)
{
    ConlluFile file;
    Work work = {0};
    int status = conllu_read(o->path, &file, e);
    if (status)
        return status;
    status = work_make(&work, file.n_words, o->path, e);
    for (size_t s = 0; s < file.n_sentences && !status; s++) {
        const ConlluSentence *sentence = &file.sentences[s];
        const ConlluLine *lines = file.lines + sentence->first_line;
        size_t n = 0;
        for (size_t i = 0; i < sentence->n_lines; i++)
            if (lines[i].is_word)
                work.words[n++] = (TaggerWord){lines[i].columns[CONLLU_FORM].bytes, lines[i].columns[CONLLU_FORM].n_bytes};
        status = stopped(o, e);
        if (!status)
            status = tagger_tag(tagger, work.words, n, work.tags, e);
        if (status)
            break;
        n = 0;
        for (size_t i = 0; i < sentence->n_lines; i++) {
            put_line(out, &lines[i], tagger, work.tags[n]);
            n += lines[i].is_word;
        }
        fputc('\n', out);
    }
    work_free(&work);
    conllu_free(&file);
    return status;
}

static int tag_text(const StrataTagOptions *o, const Tagger *tagger, FILE *out, Error *e)
{
    DatasetBytes text;
    WordList list = {0};
    Work work = {0};
    int status = dataset_unpack(o->path, DATASET_FORMAT_TEXT, &text, e);
    if (status)
        return status;
    if (!(status = word_split(text.data, text.size_bytes, &list, e)))
        status = work_make(&work, list.n_words, o->path, e);
    for (size_t first = 0, i = 0; i < list.n_words && !status; i++) {
        const WordSpan *span = &list.words[i];
        work.words[i] = (TaggerWord){(const char *)text.data + span->begin, span->end - span->begin};
        if (!span->is_sentence_end)
            continue;
        if ((status = stopped(o, e)) || (status = tagger_tag(tagger, work.words + first, i + 1 - first, work.tags + first, e)))
            break;
        for (size_t k = first; k <= i; k++) {
            fprintf(out, "%zu\t", k - first + 1);
            put(out, (ConlluSlice){work.words[k].bytes, work.words[k].n_bytes}); /* holds no white space: no tab, no newline */
            put_tags(out, tagger, work.tags[k]);
            fprintf(out, "%sProb=%.3f|Start=%zu|End=%zu\n", list.words[k].is_space_after ? "" : "SpaceAfter=No|",
                    work.tags[k].posterior, list.words[k].begin, list.words[k].end);
        }
        fputc('\n', out);
        first = i + 1;
    }
    work_free(&work);
    word_split_free(&list);
    dataset_unpack_free(&text);
    return status;
}

int strata_tag(const StrataTagOptions *options, StrataError *e)
{
    FILE *out = options->out ? options->out : stdout;
    Tagger *tagger;
    if (!options->path)
        return error_set(e, STATUS_USAGE, "tag: expected a text file, or --conllu with a treebank");
    int status = tagger_open(&tagger, e);
    if (status)
        return status;
    status = options->is_conllu ? tag_treebank(options, tagger, out, e) : tag_text(options, tagger, out, e);
    tagger_close(tagger);
    if (!status && (fflush(out) || ferror(out)))
        status = error_set(e, STATUS_FAILED, "the tags cannot be written: %s", strerror(errno));
    return status;
}
