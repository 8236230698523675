/* test_diff.c: Study B's sums and its command: against numpy on transformers' hidden states (tests/data/diff, made by
 * tools/make_diff_fixture.py), against plain computations with everything in memory, and against what must hold whatever the model. */
#include <unistd.h>

#include "engine/base/rng.h"
#include "experiments/diff_curves.h"
#include "kernels/host_entries.h"
#include "loaders/tensor_file.h"
#include "tests/test.h"

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double true_median(double *x, size_t n)
{
    qsort(x, n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* Values of a few shapes: half-normal, heavy-tailed, two lumps, constants. */
static double draw(Rng *rng, int shape)
{
    double z = rng_normal(rng);
    return shape == 0 ? fabs(z) : shape == 1 ? exp(2 * z) : shape == 2 ? (z > 0.3 ? 5 : 0.01) + 0.001 * rng_uniform(rng) : 0.25;
}

static void medians_are_within_their_bound(void)
{
    static const size_t counts[] = {1, 2, 63, 64, 65, 66, 200, 1001, 5000, 70000};
    double *x = malloc(70000 * sizeof *x);
    double worst = 0;
    for (int shape = 0; shape < 4; shape++) {
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            Rng rng;
            Sketch s = {0};
            double bound;
            size_t n = counts[k], kept = n < SKETCH_MOST ? n : SKETCH_MOST;
            rng_seed(&rng, 7 + k, (uint64_t)shape);
            for (size_t i = 0; i < n; i++) {
                x[i] = (double)(float)draw(&rng, shape);
                sketch_add(&s, i, PAIR_TRIM, (float)x[i]);
            }
            double got = diff_sketch_median(&s, n, &bound), expected = true_median(x, kept);
            if (n <= SKETCH_FIRST)
                CHECK(got == expected && bound == 0);
            CHECK_MSG(fabs(got - expected) <= bound + 1e-6 * fabs(expected), "shape %d, n %zu: got %g, expected %g, bound %g",
                      shape, n, got, expected, bound);
            CHECK(bound <= (shape == 1 ? 0.2 : 0.05)); /* (87 % quantile - 13 % quantile) / 126 */
            worst = bound > 0 && fabs(got - expected) / bound > worst ? fabs(got - expected) / bound : worst;
        }
    }
    printf("  largest error of a median: %.2f of its bound\n", worst);
    free(x);
    Sketch none = {0};
    double bound;
    CHECK(isnan(diff_sketch_median(&none, 0, &bound)));
}

/* Values in falling order are not random: the median leaves the grid, and that is said. */
static void a_median_outside_the_grid_is_not_told(void)
{
    Sketch s = {0};
    double bound;
    for (size_t i = 0; i < 1000; i++)
        sketch_add(&s, i, PAIR_TRIM, (float)(1000 - i));
    CHECK(isnan(diff_sketch_median(&s, 1000, &bound)) && isinf(bound));
}

static void deviations_are_within_their_bound(void)
{
    enum { N = 8000 };
    static double x[N];
    for (int shape = 0; shape < 2; shape++) {
        Rng rng;
        Sketch s = {0};
        double bound, first;
        rng_seed(&rng, 3, (uint64_t)shape);
        for (size_t i = 0; i < N; i++) {
            x[i] = shape ? rng_normal(&rng) : fabs(rng_normal(&rng));
            sketch_add(&s, i, 2, (float)x[i]);
        }
        double centre = diff_sketch_median(&s, N, &first), got = diff_sketch_deviation(&s, N, centre, &bound);
        for (size_t i = 0; i < N; i++)
            x[i] = fabs(x[i] - centre);
        double expected = true_median(x, N);
        CHECK_MSG(fabs(got - expected) <= bound && bound < 0.1, "got %g, expected %g, bound %g", got, expected, bound);
    }
}

static void rotations_keep_lengths_and_mix(void)
{
    static const size_t dims[] = {1, 2, 3, 48, 576, 1000};
    for (size_t k = 0; k < sizeof dims / sizeof *dims; k++) {
        DiffRotations r;
        Error e;
        Rng rng;
        size_t d = dims[k];
        float x[1000], y[1000], z[1000], scratch[1000];
        CHECK(diff_rotations_open(2, d, 5, &r, &e) == STATUS_OK);
        rng_seed(&rng, 1, 1);
        double xx = 0, yy = 0, zz = 0, yz = 0, most = 0;
        for (size_t i = 0; i < d; i++)
            x[i] = (float)rng_normal(&rng);
        diff_rotate(&r, 0, x, y, scratch);
        diff_rotate(&r, 1, x, z, scratch);
        for (size_t i = 0; i < d; i++) {
            xx += (double)x[i] * (double)x[i];
            yy += (double)y[i] * (double)y[i];
            zz += (double)z[i] * (double)z[i];
            yz += (double)y[i] * (double)z[i];
        }
        CHECK_NEAR(yy, xx, 1e-5 * xx); /* f32 sums of log2(D) terms, three rounds */
        CHECK_NEAR(zz, xx, 1e-5 * xx);
        CHECK(d < 48 || fabs(yz) < 0.5 * xx);
        memset(x, 0, sizeof x); /* a unit vector is spread over all coordinates */
        x[0] = 1;
        diff_rotate(&r, 0, x, y, scratch);
        for (size_t i = 0; i < d; i++)
            most = fabs((double)y[i]) > most ? fabs((double)y[i]) : most;
        CHECK_MSG(d < 48 || most < 6 / sqrt((double)d), "D %zu: %g", d, most);
        diff_rotations_close(&r);
    }
}

/* ---- sums against everything in memory ---- */

enum { N_PAIRS = 300, D = 37, LONGEST = 6, BLOCK = 23, GROUPS = 7 };

typedef struct Naive {
    double y[DIFF_N_CLASSES][N_PAIRS][D], x[DIFF_N_CLASSES][N_PAIRS][D], s[DIFF_N_CLASSES][N_PAIRS][D];
    bool there[DIFF_N_CLASSES][N_PAIRS], control[N_PAIRS];
    size_t template_group[N_PAIRS], word_group[N_PAIRS];
    int half[N_PAIRS];
} Naive;

static void note_naive(Naive *all, size_t first, const View *rows, const DiffItem *items, size_t n)
{
    const double *r = rows->data;
    for (size_t i = 0; i < n; i++) {
        const DiffItem *item = &items[i], *other = &items[item->partner];
        all->control[first + i] = item->has_control;
        all->template_group[first + i] = item->template_group;
        all->word_group[first + i] = item->word_group;
        all->half[first + i] = item->half;
        for (int class = 0; class < DIFF_N_CLASSES; class ++) {
            all->there[class][first + i] = item->at[class] != DIFF_NO_ROW;
            if (item->at[class] == DIFF_NO_ROW)
                continue;
            size_t from = class == DIFF_ALL ? 0 : (size_t)item->at[class], to = class == DIFF_ALL ? item->n : from + 1;
            size_t both = item->n < other->n ? item->n : other->n;
            for (size_t j = 0; j < D; j++) {
                for (size_t p = from; p < to; p++) {
                    double a = r[(item->a + p) * rows->ld + j];
                    all->y[class][first + i][j] += fabs(r[(item->b + p) * rows->ld + j] - a) / (double)(to - from);
                    if (item->has_control)
                        all->x[class][first + i][j] +=
                            fmin(1, item->nearness) * fabs(r[(item->c + p) * rows->ld + j] - a) / (double)(to - from);
                }
                if (item == other) /* alone in its block */
                    all->s[class][first + i][j] = NAN;
                else if (class == DIFF_ALL)
                    for (size_t p = 0; p < both; p++)
                        all->s[class][first + i][j] +=
                            fabs(r[(other->b + p) * rows->ld + j] - r[(item->a + p) * rows->ld + j]) / (double)both;
                else if (other->at[class] != DIFF_NO_ROW)
                    all->s[class][first + i][j] =
                        fabs(r[(other->b + (size_t)other->at[class]) * rows->ld + j] - r[(item->a + from) * rows->ld + j]);
                else
                    all->s[class][first + i][j] = NAN;
            }
        }
    }
}

static void sums_equal_a_plain_computation(int threads)
{
    static Naive all;
    static double rows[BLOCK * 3 * LONGEST * (D + 3)];
    DiffShape shape = {.n_points = 2, .n_cols = D, .n_template_groups = GROUPS, .n_word_groups = GROUPS, .most_items = BLOCK};
    DiffSums *s = NULL;
    Pool *pool = NULL;
    Error e;
    Rng rng;
    memset(&all, 0, sizeof all);
    CHECK(pool_open(threads, &pool, &e) == STATUS_OK && diff_sums_open(&shape, pool, NULL, NULL, &s, &e) == STATUS_OK);
    rng_seed(&rng, 11, 0);
    for (size_t first = 0; first < N_PAIRS; first += BLOCK) {
        DiffItem items[BLOCK];
        size_t n = N_PAIRS - first < BLOCK ? N_PAIRS - first : BLOCK, at = 0;
        for (size_t i = 0; i < n; i++) {
            size_t len = 1 + rng_below(&rng, LONGEST);
            items[i] = (DiffItem){.a = at, .b = at + len, .c = at + 2 * len, .n = len};
            at += 3 * len;
            items[i].at[DIFF_NEXT] = len > 1 ? 1 : DIFF_NO_ROW;
            items[i].at[DIFF_LAST] = (int64_t)len - 1;
            items[i].at[DIFF_ONSET] = rng_below(&rng, 2) ? (int64_t)rng_below(&rng, len) : DIFF_NO_ROW;
            items[i].has_control = rng_below(&rng, 4) > 0;
            items[i].nearness = 0.5 + rng_uniform(&rng);
            items[i].template_group = rng_below(&rng, GROUPS);
            items[i].word_group = rng_below(&rng, GROUPS);
            items[i].half = (int)(items[i].template_group % 2);
            items[i].partner = (i + 1) % n;
        }
        for (size_t i = 0; i < at * (D + 3); i++)
            rows[i] = rng_normal(&rng);
        View v = {.data = rows, .dtype = DTYPE_F64, .rows = at, .cols = D, .ld = D + 3};
        diff_sums_add(s, 0, v, items, n);
        diff_sums_add(s, 1, v, items, n);
        note_naive(&all, first, &v, items, n);
    }
    double mean[D], sd[D], median[D], bound[D], shuffled[D], *scratch = malloc(diff_sums_scratch(s) * sizeof *scratch);
    for (int class = 0; class < DIFF_N_CLASSES; class ++) {
        DiffMoments m = {.mean = mean, .sd = sd, .median = median, .median_bound = bound, .shuffled = shuffled};
        diff_sums_moments(s, (DiffClass) class, 1, &m);
        DiffStatsSums sums = diff_sums_row(s, (DiffClass) class, 1, NULL, scratch);
        for (size_t j = 0; j < D; j++) {
            double values[N_PAIRS], sum = 0, squares = 0, other = 0, yt = 0, xw = 0, xy = 0;
            size_t n = 0, n_other = 0;
            for (size_t i = 0; i < N_PAIRS; i++) {
                if (!all.there[class][i])
                    continue;
                double y = all.y[class][i][j], x = all.x[class][i][j];
                values[n++] = y;
                sum += y;
                if (!isnan(all.s[class][i][j])) {
                    other += all.s[class][i][j];
                    n_other++;
                }
                if (!all.control[i])
                    continue;
                yt += all.template_group[i] == 3 ? y : 0;
                xw += all.word_group[i] == 2 && all.half[i] == 1 ? x : 0;
                xy += all.half[i] == 0 ? x * y : 0;
            }
            for (size_t i = 0; i < n; i++)
                squares += (values[i] - sum / (double)n) * (values[i] - sum / (double)n);
            CHECK(m.n == n && m.n_shuffled == n_other);
            CHECK_NEAR(mean[j], sum / (double)n, 1e-12);
            CHECK_NEAR(sd[j], sqrt(squares / (double)(n - 1)), 1e-12);
            CHECK_NEAR(shuffled[j], other / (double)n_other, 1e-12);
            CHECK_NEAR(median[j], true_median(values, n), bound[j] + 1e-6); /* values are rounded to f32 */
            CHECK(bound[j] < 0.05);
            /* f32 sums of up to 100 terms of about 1: 100 eps each */
            CHECK_NEAR(sums.y_template[3 * D + j], yt, 1e-5 * (1 + yt));
            CHECK_NEAR(sums.x_word[(GROUPS + 2) * D + j], xw, 1e-5 * (1 + xw));
            CHECK_NEAR(sums.xy[j], xy, 1e-12 * (1 + xy));
        }
    }
    free(scratch);
    diff_sums_close(s);
    pool_close(pool);
}

/* Curves of a control come scaled down where it lies farther, and scaled up where it lies nearer; 1 - cosine by the square. */
static void curves_hold_both_bounds_of_a_control(void)
{
    enum { DIMS = 3 };
    /* a, b, c: differences (0, 3, 4) and (0, 0, 12) from (1, 0, 0), of cosines 1 / sqrt(26) and 1 / sqrt(145). */
    double rows[3][DIMS] = {{1, 0, 0}, {1, 3, 4}, {1, 0, 12}}, inverse_sigma[DIMS] = {1, 1, 0.5};
    double y[DIFF_N_CLASSES * DIFF_CURVE_COLS], x[DIFF_N_CLASSES * DIFF_CURVE_COLS], shuffled[DIFF_N_CLASSES * DIFF_CURVE_COLS];
    const double of_b[] = {5, 5, 1 - 1 / sqrt(26), 5.0 / 3}, of_c[] = {12, 12, 1 - 1 / sqrt(145), 2};
    const double nears[] = {0.5, 2};
    Pool *pool = NULL;
    Error e;
    CHECK(pool_open(1, &pool, &e) == STATUS_OK);
    for (size_t i = 0; i < 2; i++) {
        DiffItem item = {.a = 0, .b = 1, .c = 2, .n = 1, .has_control = true, .nearness = nears[i]};
        item.at[DIFF_NEXT] = item.at[DIFF_ONSET] = DIFF_NO_ROW;
        View v = {.data = rows, .dtype = DTYPE_F64, .rows = 3, .cols = DIMS, .ld = DIMS};
        DiffCurveValues out = {y, x, shuffled};
        DiffComparisons c;
        CHECK(diff_comparisons_open(&c, 3, 1, &e) == STATUS_OK);
        diff_comparisons_list(&c, &item, 1, 2);
        CHECK(c.n == 3 && c.first[1] == 2);
        host_compare_rows(pool, c.at, v, c.pairs, c.n, inverse_sigma);
        CHECK(diff_comparisons_identical(&c, 1) == 12);
        diff_curves_of(pool, &c, &item, 1, DIMS, &out);
        diff_comparisons_close(&c);
        for (size_t class = 0; class < DIFF_N_CLASSES; class ++)
            for (size_t k = 0; k < DIFF_CURVE_COLS; k++) {
                size_t at = class * DIFF_CURVE_COLS + k, curve = k % DIFF_N_CURVES;
                bool there = item.at[class] != DIFF_NO_ROW;
                double scale = (nears[i] < 1) == (k < DIFF_N_CURVES) ? nears[i] : 1;
                scale = curve == DIFF_CURVE_COSINE ? scale * scale : scale;
                CHECK_NEAR(y[at], there ? of_b[curve] : 0, 1e-12);
                CHECK_NEAR(x[at], there ? scale * of_c[curve] : 0, 1e-12);
            }
    }
    pool_close(pool);
}

static void sums_equal_a_plain_computation_on_one_thread(void)
{
    sums_equal_a_plain_computation(1);
}

static void sums_equal_a_plain_computation_on_three_threads(void)
{
    sums_equal_a_plain_computation(3);
}

/* ---- the whole study against transformers ---- */

static float element(const Tensor *t, size_t i)
{
    float x;
    memcpy(&x, (const char *)t->data + 4 * i, 4);
    return x;
}

/* 1e-4 of the value, as the study promises, and 2e-6 of the tensor's largest for values that nearly cancel: hidden states are off by
 * that much between two f32 implementations, and a mean of differences no more. */
static double compare_tensor(const Tensor *got, const Tensor *expected, double relative)
{
    double most = 0, worst = 0;
    size_t n = expected->size_bytes / 4;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)element(expected, i)));
    for (size_t i = 0; i < n; i++) {
        double x = (double)element(expected, i),
               error = fabs((double)element(got, i) - x) / (relative * fabs(x) + 2e-6 * most + 1e-30);
        worst = error <= worst ? worst : error;
    }
    return worst;
}

static void run_model(const char *name, const char *numerics, const char *folder)
{
    char model[128], expected_path[128], got_path[300];
    StrataError e;
    snprintf(model, sizeof model, "tests/data/models/%s", name);
    snprintf(expected_path, sizeof expected_path, "tests/data/diff/%s.safetensors", name);
    snprintf(got_path, sizeof got_path, "%s/diff.safetensors", folder);
    StrataDiffOptions o = {.common = {.model_name = model,
                                      .numerics = numerics,
                                      .threads = 2,
                                      .quiet = 1,
                                      .memory_bytes = 1 << 28,
                                      .context = strcmp(name, "gpt2") == 0 ? 32 : 64},
                           .pairs = "tests/data/diff/pairs.jsonl",
                           .dataset_path = "tests/data/diff/corpus.jsonl",
                           .output_dir = folder,
                           .no_figures = 1,
                           .force = 1};
    int status = strata_diff(&o, &e);
    CHECK_MSG(status == STATUS_OK, "%s: %s", name, e.text);
    TensorFile got, expected;
    if (status || tensor_file_open(got_path, &got, &e) || tensor_file_open(expected_path, &expected, &e)) {
        CHECK_MSG(false, "%s", e.text);
        return;
    }
    double worst = 0;
    size_t n = 0;
    for (size_t i = 0; i < expected.n_tensors; i++) {
        const Tensor *want = &expected.tensors[i], *have = tensor_file_find(&got, want->name);
        CHECK_MSG(have && have->size_bytes == want->size_bytes, "%s: %s", name, want->name);
        /* mad is told within 4 bins of its grid, some 3 % of sigma each */
        double error = have ? compare_tensor(have, want, strcmp(want->name, "mad") == 0 ? 0.12 : 1e-4) : 0;
        CHECK_MSG(error <= 1, "%s in %s: %s is off by %.3g of what is allowed", name, numerics, want->name, error);
        worst = error > worst ? error : worst;
        n++;
    }
    printf("  %s in %s: %zu tensors, worst at %.2g of the tolerance\n", name, numerics, n, worst);
    CHECK(n > 50);
    tensor_file_close(&got);
    tensor_file_close(&expected);
}

static void differences_equal_transformers(void)
{
    char folder[] = "/tmp/strata-diff-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    run_model("llama", "fast", folder);
    run_model("llama", "ref64", folder);
    run_model("llama-dynamic", "fast", folder);
    run_model("llama-dynamic", "stable", folder);
    run_model("mistral", "fast", folder);
    run_model("gpt2", "fast", folder);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
}

int main(void)
{
    RUN(medians_are_within_their_bound);
    RUN(a_median_outside_the_grid_is_not_told);
    RUN(deviations_are_within_their_bound);
    RUN(rotations_keep_lengths_and_mix);
    RUN(curves_hold_both_bounds_of_a_control);
    RUN(sums_equal_a_plain_computation_on_one_thread);
    RUN(sums_equal_a_plain_computation_on_three_threads);
    RUN(differences_equal_transformers);
    return test_finish();
}
