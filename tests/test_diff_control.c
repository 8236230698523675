/* test_diff_control.c: what must hold of every matched control whatever the model and the pairs: another word than either side's, written
 * alike, as frequent, no special token, in the same place of the same sentence, its distance as stated; and the choice depends on the seed
 * and the pair alone: not on threads, on categories before it, or on what else is studied. */
#include "experiments/diff_sample.h"
#include "kernels/convert.h"
#include "tests/test.h"

typedef struct Study {
    Diff s;
    StrataDiffOptions options;
    PairFile pairs;
} Study;

static bool open_study(Study *x, const char *categories, int threads, uint64_t seed)
{
    Error e = {{0}};
    memset(x, 0, sizeof *x);
    x->options.common = (StrataCommon){
        .model_name = "tools/demo/model", .threads = threads, .quiet = 1, .memory_bytes = 1 << 28, .context = 64, .seed = seed};
    x->s.options = &x->options;
    x->s.common = x->options.common;
    x->s.controls = true;
    int status = workbench_open(&x->s.common, TOKENIZER_REQUIRED, &x->s.bench, &e);
    if (!status)
        status = pair_file_read("tests/data/diff/demo.jsonl", 0, &x->pairs, &e);
    x->s.pairs = &x->pairs;
    if (!status)
        status = diff_categories_build(&x->pairs, categories, 0, seed, &x->s.categories, &e);
    if (!status)
        status = diff_corpus_open(&x->s.bench, NULL, NULL, 16, &x->s.corpus, &e);
    CHECK_MSG(status == STATUS_OK, "%s", e.text);
    return status == STATUS_OK;
}

static void choose(Study *x, bool backwards)
{
    Error e = {{0}};
    size_t n = x->s.categories.n;
    for (size_t c = 0; c < n; c++)
        CHECK_MSG(diff_control_choose(&x->s, &x->s.categories.list[backwards ? n - 1 - c : c], &e) == STATUS_OK, "%s", e.text);
}

static void close_study(Study *x)
{
    diff_corpus_close(&x->s.corpus);
    diff_categories_free(&x->s.categories);
    pair_file_free(&x->pairs);
    workbench_close(&x->s.bench);
}

static double embedding_distance(const Study *x, int32_t a, int32_t b)
{
    enum { MOST = 1024 };
    static float rows[2][MOST];
    const WeightPart *table = &x->s.bench.model.bindings.role[ROLE_EMBED].parts[0];
    size_t d = traits_embed_width(&x->s.bench.model.traits);
    double ab = 0, aa = 0, bb = 0;
    CHECK(d <= MOST);
    convert_row_f32(table, (size_t)a, rows[0]);
    convert_row_f32(table, (size_t)b, rows[1]);
    for (size_t j = 0; j < d; j++) {
        ab += (double)rows[0][j] * (double)rows[1][j];
        aa += (double)rows[0][j] * (double)rows[0][j];
        bb += (double)rows[1][j] * (double)rows[1][j];
    }
    return 1 - ab / sqrt(aa * bb);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void check_writing(const Study *x, int32_t base, int32_t control)
{
    char a[64], b[64];
    size_t n_a = tokenizer_token_bytes(x->s.bench.tokenizer, base, a, sizeof a),
           n_b = tokenizer_token_bytes(x->s.bench.tokenizer, control, b, sizeof b);
    CHECK(!tokenizer_is_special(x->s.bench.tokenizer, control) && control != x->s.bench.bos_id);
    CHECK(n_a > 0 && n_b > 0 && n_b < sizeof b && (a[0] == ' ') == (b[0] == ' '));
    size_t first = b[0] == ' ';
    CHECK(first < n_b && (a[first] < 'a') == (b[first] < 'a'));
    for (size_t i = first; i < n_b; i++)
        CHECK_MSG(is_letter(b[i]) && (i == first || b[i] >= 'a'), "%d is \"%.*s\"", control, (int)n_b, b);
}

static int frequency(const Study *x, int32_t id)
{
    return (int)floor(log2(1.0 + x->s.corpus.count[id]));
}

static void every_control_is_matched(void)
{
    static Study x;
    size_t n = 0;
    if (!open_study(&x, NULL, 2, 3))
        return;
    choose(&x, false);
    for (size_t c = 0; c < x.s.categories.n; c++) {
        const DiffCategory *k = &x.s.categories.list[c];
        double pairs = 0, controls = 0, n_matched = 0;
        for (size_t i = 0; i < k->n_pairs; i++) {
            const Pair *p = diff_pair(&x.s, k, i);
            int32_t base = diff_base_token(p), other = diff_other_token(p), control = k->control[i];
            if (control < 0) {
                CHECK(k->n_candidates[i] < 20 && k->nearness[i] == 1);
                continue;
            }
            CHECK(control != base && control != other && k->n_candidates[i] == 20);
            check_writing(&x, base, control);
            CHECK(abs(frequency(&x, control) - frequency(&x, other)) <= 1);
            double to_other = embedding_distance(&x, base, other), to_control = embedding_distance(&x, base, control);
            CHECK_NEAR(k->nearness[i], to_other / to_control, 1e-5);
            pairs += to_other;
            controls += to_control;
            n_matched++;
            n++;
        }
        CHECK_NEAR(k->pair_distance, pairs / n_matched, 1e-6);
        CHECK_NEAR(k->control_distance, controls / n_matched, 1e-6);
    }
    CHECK(n >= 40);
    close_study(&x);
}

/* The control's window is the good sentence with one other id, where the pair has its edit. */
static void a_control_stands_where_the_edit_does(void)
{
    static Study x;
    DiffSample sample;
    Error e = {{0}};
    if (!open_study(&x, NULL, 2, 3))
        return;
    choose(&x, false);
    CHECK(diff_sample_open(&x.s, SIZE_MAX, 40, true, &sample, &e) == STATUS_OK && sample.n == 40);
    for (int shared = 0; shared < 2; shared++) {
        diff_sample_fill(&sample, 0, sample.n, true, shared);
        for (size_t i = 0; i < sample.n; i++) {
            const DiffItem *item = &sample.items[i];
            const Pair *p = sample.pairs[i];
            const int32_t *ids = diff_base_ids(p) + p->edit_index, *got = sample.block.ids + item->c;
            CHECK(item->has_control && item->n == p->n_ids - p->edit_index && got[0] == sample.controls[i] && got[0] != ids[0]);
            CHECK(memcmp(got + 1, ids + 1, (item->n - 1) * sizeof *got) == 0);
            CHECK(sample.block.ids[item->b] == diff_other_token(p) && sample.block.ids[item->a] == ids[0]);
        }
    }
    diff_sample_close(&sample);
    close_study(&x);
}

static size_t count_equal(const DiffCategory *a, const DiffCategory *b)
{
    size_t n = 0;
    CHECK(a->n_pairs == b->n_pairs);
    for (size_t i = 0; i < a->n_pairs && i < b->n_pairs; i++)
        n += a->control[i] == b->control[i];
    return n;
}

static void the_choice_depends_on_seed_and_pair_alone(void)
{
    static Study x, y, z;
    if (!open_study(&x, NULL, 2, 3) || !open_study(&y, NULL, 1, 3) || !open_study(&z, "tense", 3, 3))
        return;
    choose(&x, false);
    choose(&y, true);
    choose(&z, false);
    for (size_t c = 0; c < x.s.categories.n; c++) {
        const DiffCategory *k = &x.s.categories.list[c];
        CHECK(count_equal(k, &y.s.categories.list[c]) == k->n_pairs);
        if (strcmp(k->name, z.s.categories.list[0].name) == 0)
            CHECK(count_equal(k, &z.s.categories.list[0]) == k->n_pairs);
    }
    CHECK(z.s.categories.n == 1);
    close_study(&y);
    close_study(&z);
    /* Another seed draws other words: one in 20 stays. */
    if (open_study(&y, NULL, 2, 4)) {
        size_t same = 0, n = 0;
        choose(&y, false);
        for (size_t c = 0; c < x.s.categories.n; c++) {
            const DiffCategory *k = &x.s.categories.list[c], *l = &y.s.categories.list[c];
            for (size_t i = 0; i < k->n_pairs; i++)
                for (size_t j = 0; j < l->n_pairs; j++)
                    if (k->pairs[i] == l->pairs[j] && k->control[i] >= 0) {
                        CHECK(l->control[j] >= 0);
                        same += k->control[i] == l->control[j];
                        n++;
                    }
        }
        CHECK_MSG(n >= 40 && same * 4 < n, "%zu of %zu controls are the same under two seeds", same, n);
        close_study(&y);
    }
    close_study(&x);
}

int main(void)
{
    RUN(every_control_is_matched);
    RUN(a_control_stands_where_the_edit_does);
    RUN(the_choice_depends_on_seed_and_pair_alone);
    return test_finish();
}
