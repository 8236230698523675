/* pair_templates.c: see pair_templates.h. */
#include "experiments/pair_templates.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/progress.h"

enum {
    CANDIDATES = 6,    /* of which the one with the rarest words is taken */
    DRAWS = 150,       /* at most, for one turn of a template */
    FRUITLESS = 2,     /* turns without a new pair: the template is done */
    HOPELESS = 300,    /* draws of a template without a single good pair: its words are no tokens here */
    HOPELESS_WORD = 3, /* times a word was several tokens */
    MIN_WORDS = 5,
    MAX_WORDS = 25,
    FIRST_EDIT = 2, /* the first token is an attention sink; the second keeps clear of it */
};

typedef struct Filler {
    const PairGrammar *g;
    const Tokenizer *t;
    const PairTemplatesOptions *o;
    PairSet *set;
    PairCounts words; /* of the category */
    PairCounts split; /* edited words of the category that are no token: how often they were drawn */
    PairDraft draft;
    PairScratch scratch;
    StrBuf key;
    Rng rng;
    Error *e;
} Filler;

typedef struct TemplateState {
    const PairTemplate *t;
    int n_fruitless;
    size_t n_bad; /* refused draws before the first good one */
    bool has_given, is_done;
} TemplateState;

static size_t *word_count(Filler *f, const Pair *p)
{
    strbuf_reset(&f->key);
    pair_set_word_key(p, &f->key);
    return f->key.failed ? NULL : pair_counts_at(&f->words, f->key.data, f->key.len);
}

/* How often the edited word of a side was no token; NULL when memory is out. */
static size_t *split_count(Filler *f, int side)
{
    const PairText *t = &f->draft.side[side];
    return pair_counts_at(&f->split, t->text.data + t->edit_begin, t->edit_end - t->edit_begin);
}

/* A word that was several tokens again and again: its sentences are not drawn on and on. */
static bool is_hopeless(Filler *f)
{
    for (int s = 0; s < 2; s++) {
        const size_t *n = split_count(f, s);
        if (n && *n >= HOPELESS_WORD)
            return true;
    }
    return false;
}

/* Blames the edited words that, with the space before them, are more than one token. */
static void count_split(Filler *f)
{
    for (int s = 0; s < 2; s++) {
        const TokenList *l = &f->scratch.lists[s];
        const PairText *t = &f->draft.side[s];
        size_t begin = t->edit_begin - (t->edit_begin > 0), n_tokens = 0, *n = split_count(f, s);
        for (size_t i = 0; i < l->n; i++)
            n_tokens += l->tokens[i].byte_start < t->edit_end && l->tokens[i].byte_end > begin;
        if (n)
            *n += n_tokens > 1;
    }
}

static PairCandidate candidate_of(const PairDraft *d, const PairTemplate *t)
{
    PairCandidate c = {.a = d->side[0].text.data,
                       .b = d->side[1].text.data,
                       .a_len = d->side[0].text.len,
                       .b_len = d->side[1].text.len,
                       .category = t->category,
                       .template_id = t->id,
                       .template_len = strlen(t->id),
                       .error_side = t->has_error ? 'b' : 0,
                       .has_words = true,
                       .has_onset = true,
                       .onset_byte = d->side[1].onset};
    for (int s = 0; s < 2; s++) {
        c.word_begin[s] = d->side[s].edit_begin;
        c.word_end[s] = d->side[s].edit_end;
    }
    return c;
}

/* One draw; *good: a new pair that holds, in *out. */
static int draw_one(Filler *f, TemplateState *state, Pair *out, bool *good)
{
    const PairRules rules = {.min_words = MIN_WORDS,
                             .max_words = MAX_WORDS,
                             .first_edit = f->o->first_token ? 0 : FIRST_EDIT,
                             .last_edit = f->o->first_token ? 0 : SIZE_MAX};
    char reason[200];
    bool drawn = false;
    *good = false;
    int status = pair_grammar_draw(f->g, state->t, &f->rng, &f->draft, &drawn, f->e);
    if (status || !drawn)
        return status;
    PairCandidate c = candidate_of(&f->draft, state->t);
    int seen = pair_set_seen(f->set, c.a, c.a_len, c.b, c.b_len);
    if (seen < 0)
        return error_set(f->e, STATUS_FAILED, "no memory for the pairs");
    if (seen)
        return STATUS_OK;
    if (is_hopeless(f)) {
        state->n_bad += !state->has_given;
        return STATUS_OK;
    }
    *good = pair_verify(f->t, &c, &rules, &f->scratch, &f->set->arena, out, reason, &status, f->e);
    if (!status && !*good)
        count_split(f);
    if (*good || status)
        return status;
    state->n_bad += !state->has_given;
    return pair_set_reject(f->set, &c, pair_category_name(c.category), reason, f->e);
}

static int take_turn(Filler *f, TemplateState *state, bool *given)
{
    Pair best = {0};
    size_t best_count = SIZE_MAX;
    int n_good = 0, status = STATUS_OK;
    for (int i = 0; i < DRAWS && n_good < CANDIDATES && best_count > 0 && !status; i++) {
        Pair p;
        bool good = false;
        if ((status = draw_one(f, state, &p, &good)) || !good)
            continue;
        const size_t *count = word_count(f, &p);
        if (!count)
            return error_set(f->e, STATUS_FAILED, "no memory for the pairs");
        n_good++;
        if (*count < best_count) {
            best_count = *count;
            best = p;
        }
        if (!state->has_given && state->n_bad > HOPELESS)
            break;
    }
    *given = n_good > 0;
    state->has_given |= n_good > 0;
    state->n_fruitless = n_good > 0 ? 0 : state->n_fruitless + 1;
    state->is_done = state->n_fruitless == FRUITLESS || (!state->has_given && state->n_bad > HOPELESS);
    if (status || n_good == 0)
        return status;
    ++*word_count(f, &best);
    return pair_set_keep(f->set, &best, f->e);
}

static int fill_category(Filler *f, PairCategory category, TemplateState *states, PairShortage *shortage, Progress *progress)
{
    size_t n = 0, kept = 0, n_done = 0;
    int status = STATUS_OK;
    for (size_t i = 0; i < f->g->n_templates; i++)
        if (f->g->templates[i].category == category && f->g->templates[i].is_first_token == f->o->first_token)
            states[n++] = (TemplateState){.t = &f->g->templates[i]};
    rng_seed(&f->rng, f->o->seed, (uint64_t)category + 1);
    while (kept < f->o->per_category && n_done < n && !status)
        for (size_t i = 0; i < n && kept < f->o->per_category && !status; i++) {
            bool given = false;
            if (states[i].is_done)
                continue;
            if (f->o->stop && *f->o->stop)
                return error_set(f->e, STATUS_INTERRUPTED, "interrupted; nothing was written");
            status = take_turn(f, &states[i], &given);
            kept += given;
            n_done += states[i].is_done;
            progress_update(progress, progress->done + given);
        }
    *shortage = (PairShortage){n, n_done};
    return status;
}

int pair_templates_fill(const PairGrammar *g, const Tokenizer *t, const PairTemplatesOptions *o, PairSet *set,
                        PairShortage shortages[PAIR_N_CATEGORIES], Error *e)
{
    Filler f = {.g = g, .t = t, .o = o, .set = set, .e = e};
    TemplateState *states = calloc(g->n_templates, sizeof *states);
    size_t n_wanted = 0;
    int status = states ? STATUS_OK : error_set(e, STATUS_FAILED, "no memory for the pairs");
    Progress progress;
    for (int c = 0; c < PAIR_N_CATEGORIES; c++)
        n_wanted += o->wanted[c];
    progress_begin(&progress, "pairs", "pairs", (double)(n_wanted * o->per_category), 0, o->quiet);
    for (int c = 0; c < PAIR_N_CATEGORIES && !status; c++) {
        shortages[c] = (PairShortage){0};
        if (!o->wanted[c])
            continue;
        pair_counts_free(&f.words);
        pair_counts_free(&f.split);
        status = fill_category(&f, (PairCategory)c, states, &shortages[c], &progress);
    }
    progress_end(&progress);
    pair_counts_free(&f.words);
    pair_counts_free(&f.split);
    pair_draft_free(&f.draft);
    pair_scratch_free(&f.scratch);
    strbuf_free(&f.key);
    free(states);
    return status;
}
