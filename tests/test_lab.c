/* test_lab.c: the live lab (experiments/lab*.h) on every family's tiny model:
 * losses and residual streams against transformers' dumps; attention patterns against the f64 oracle's own attention; the logit lens
 * against `strata next`; and that a warm cache, an edit and a stop change nothing that they should not. */
#include <stdlib.h>

#include "engine/base/json.h"
#include "tests/lab_bench.h"
#include "tests/test.h"

static const double LOSS_TOLERANCE = 5e-5; /* as tests/dump_case.h derives it */

static void compare_losses(Bench *b, const char *name, const LabHead *h)
{
    char tensor[128];
    snprintf(tensor, sizeof tensor, "nll.%s.0", name);
    const Tensor *t = tensor_file_find(&b->expected, tensor);
    CHECK_MSG(t && t->shape[0] == b->n - 1, "%s: %s", b->common.model_name, tensor);
    for (size_t i = 0; t && i + 1 < b->n; i++) {
        float expected;
        memcpy(&expected, (const char *)t->data + 4 * i, 4);
        CHECK_NEAR(h->nll[i], expected, LOSS_TOLERANCE);
        CHECK((h->rank[i] == 0) == (h->top1[i] == b->ids[i + 1]));
        CHECK(h->ids[i * LAB_TOP] == h->top1[i]);
    }
}

/* Streams are some units large; f32 sums of width up to 64 in a few layers: the dump's own error and ours, as in test_forward.c. */
static void compare_streams(Bench *b, const LabStream *s)
{
    const Tensor *t = tensor_file_find(&b->expected, "hidden.0");
    size_t d = b->bench.model.traits.d_model;
    double *rows = malloc(b->n * d * sizeof *rows);
    for (size_t p = 0; t && rows && p < s->n_steps; p++) { /* some families' last state is normed */
        double worst = 0, largest = 0;
        lab_node_rows(b->lab, s->point[p], 0, b->n, rows);
        for (size_t i = 0; i < b->n * d; i++) {
            float expected;
            memcpy(&expected, (const char *)t->data + 4 * (p * b->n * d + i), 4);
            double error = fabs(rows[i] - (double)expected);
            worst = error <= worst ? worst : error;
            largest = fabs(rows[i]) > largest ? fabs(rows[i]) : largest;
        }
        CHECK_MSG(worst <= 1e-4 * (1 + largest), "%s: point %zu is off by %g", b->common.model_name, p, worst);
    }
    free(rows);
}

static void test_losses_and_streams_equal_transformers(void)
{
    for (size_t m = 0; m < n_models; m++) {
        Bench b;
        if (open_bench(&b, models[m], "fast", NULL)) {
            Order intact = make_order(&b, NULL);
            char without[32];
            int last = b.bench.model.traits.n_layers - 1;
            snprintf(without, sizeof without, last == 1 ? "0" : "0,2-%d", last);
            Order removal = make_order(&b, without);
            LabStream s, r;
            Error e = {{0}};
            const LabHead *h = NULL;
            if (walk(&b, &intact, &s) && walk(&b, &removal, &r)) {
                compare_streams(&b, &s);
                LabNode *end = s.point[s.n_steps];
                CHECK(!lab_head(b.lab, end, end, b.ids, NULL, 0, 1, &h, &e));
                compare_losses(&b, "intact", h);
                for (size_t i = 0; i < b.n; i++)
                    CHECK(h->kl[i] == 0);
                CHECK(!lab_head(b.lab, r.point[r.n_steps], end, b.ids, NULL, 0, 1, &h, &e));
                compare_losses(&b, "removal_1", h);
                for (size_t i = 0; i < b.n; i++)
                    CHECK(h->kl[i] > -1e-6);
                lab_stream_close(b.lab, &s);
                lab_stream_close(b.lab, &r);
            }
        }
        close_bench(&b);
    }
}

static const LabOp *find_op(const LabRecord *r, OpKind kind)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->ops[i].kind == kind)
            return &r->ops[i];
    return NULL;
}

/* With the oracle's table: what its attention gave is pattern times values. Both sides are f64 sums of at most 64 products. */
static void check_pattern(Bench *b, const LabStream *s, const Order *order, size_t step)
{
    LabAttention a;
    LabRecord record;
    Error e = {{0}};
    const ModelTraits *t = &b->bench.model.traits;
    size_t dh = (size_t)t->head_dim, group = (size_t)(t->n_heads / t->n_kv_heads);
    CHECK_MSG(!lab_attention(b->lab, s, order, step, b->ids, -1, &a, &e), "%s", e.text);
    Part part = lab_step_is_whole(b->lab, order, step) ? PART_BOTH : PART_ATTN;
    CHECK(!lab_watch_step(b->lab, s, order, step, part, b->ids, &record, &e));
    const LabOp *op = find_op(&record, OP_ATTENTION);
    CHECK(op && a.n == b->n && a.n_heads == (size_t)t->n_heads);
    for (size_t h = 0; op && h < a.n_heads; h++) {
        for (size_t q = 0; q < a.n; q++) {
            const double *row = a.pattern + (h * a.n + q) * a.n;
            double sum = 0;
            for (size_t k = 0; k < a.n; k++)
                sum += row[k];
            CHECK_NEAR(sum, 1, 1e-12);
            for (size_t k = q + 1; k < a.n; k++)
                CHECK(row[k] == 0);
            for (size_t i = 0; i < dh; i++) {
                double mix = 0, size = 0;
                for (size_t k = 0; k < a.n; k++) {
                    double v = op->in[2].v[k * op->in[2].cols + h / group * dh + i];
                    mix += row[k] * v;
                    size += fabs(row[k] * v);
                }
                CHECK_NEAR(mix, op->out.v[q * op->out.cols + h * dh + i], 1e-12 * (1 + size));
            }
        }
    }
    lab_record_free(&record);
    lab_attention_free(&a);
}

static void test_patterns_are_the_oracles(void)
{
    for (size_t m = 0; m < n_models; m++) {
        Bench b;
        if (open_bench(&b, models[m], "fast", &ops_ref)) {
            Order intact = make_order(&b, NULL);
            LabStream s;
            if (walk(&b, &intact, &s)) {
                check_pattern(&b, &s, &intact, 0);
                check_pattern(&b, &s, &intact, s.n_steps - 1);
                lab_stream_close(b.lab, &s);
            }
        }
        close_bench(&b);
    }
}

/* Choices are the best of the router's own logits, falling, and shares are their softmax: over the chosen or over all. */
static void check_routes(Bench *b, const LabStream *s, const Order *order, size_t step, size_t *n_checked)
{
    LabRoutes r;
    LabRecord record;
    Error e = {{0}};
    const RouteSpec *spec = &b->bench.model.traits.route;
    CHECK_MSG(!lab_routes(b->lab, s, order, step, b->ids, &r, &e), "%s", e.text);
    if (!r.expert)
        return;
    Part part = lab_step_is_whole(b->lab, order, step) ? PART_BOTH : PART_MLP;
    CHECK(!lab_watch_step(b->lab, s, order, step, part, b->ids, &record, &e));
    const LabOp *op = find_op(&record, OP_ROUTE);
    for (size_t t = 0; op && t < r.n; t++) {
        const double *z = op->in[0].v + t * op->in[0].cols;
        double all = 0, chosen = 0;
        for (int x = 0; x < spec->n_experts; x++)
            all += exp(z[x]);
        for (size_t j = 0; j < r.top_k; j++)
            chosen += exp(z[(int)r.expert[t * r.top_k + j]]);
        for (size_t j = 0; j < r.top_k; j++) {
            int expert = (int)r.expert[t * r.top_k + j], better = 0;
            for (int x = 0; x < spec->n_experts; x++)
                better += z[x] > z[expert];
            CHECK((size_t)better == j);
            /* exp and a sum of a few terms in f32 */
            CHECK_NEAR(r.weight[t * r.top_k + j], exp(z[expert]) / (spec->normalise ? chosen : all), 1e-6);
            ++*n_checked;
        }
    }
    lab_record_free(&record);
    lab_routes_free(&r);
}

static void test_routes(void)
{
    size_t n = 0;
    for (size_t m = 0; m < n_models; m++) {
        Bench b;
        if (open_bench(&b, models[m], "fast", NULL)) {
            Order intact = make_order(&b, NULL);
            LabStream s;
            if (walk(&b, &intact, &s)) {
                for (size_t step = 0; step < s.n_steps; step++)
                    check_routes(&b, &s, &intact, step, &n);
                lab_stream_close(b.lab, &s);
            }
        }
        close_bench(&b);
    }
    CHECK(n > 200);
}

/* `strata next` gives the likeliest token at each point for the last token of the text. */
static void test_lens_is_next(void)
{
    Error e = {{0}};
    char *printed = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&printed, &len);
    StrataNextOptions o = {.common = {.model_name = "tools/demo/model", .gpu_id = "cpu", .json = 1, .out = out, .threads = 2},
                           .text = "She opened the door of the",
                           .order = "0-4,6-11"};
    CHECK_MSG(!strata_next(&o, &e), "%s", e.text);
    fclose(out);
    Arena arena = {0};
    const JsonValue *root = NULL;
    CHECK_MSG(!json_parse(printed, len, "next", &arena, &root, &e), "%s", e.text);
    StrataCommon common = {.model_name = "tools/demo/model", .gpu_id = "cpu", .threads = 2};
    Workbench bench;
    Lab *lab = NULL;
    CHECK(!workbench_open(&common, TOKENIZER_REQUIRED, &bench, &e) && !lab_open(&bench, 32, &lab, &e));
    int32_t *ids;
    size_t n, d = bench.model.traits.d_model;
    Order order = {0};
    LabStream s;
    LabHead h;
    CHECK(!workbench_ids(&bench, o.text, NULL, &ids, &n, &e) && !order_parse(o.order, 12, &arena, &order, &e));
    LabText text = {.ids = ids, .n = n, .order = &order};
    CHECK(!lab_walk(lab, &text, NULL, 0, 1, &s, &e));
    double *rows = malloc((s.n_steps + 1) * d * sizeof *rows);
    for (size_t p = 0; p <= s.n_steps; p++)
        lab_node_rows(lab, s.point[p], n - 1, 1, rows + p * d);
    CHECK(!lab_head_rows(lab, rows, s.n_steps + 1, NULL, NULL, 0, NULL, 0, 1, &h, &e));
    const JsonValue *lens = json_get(root, "lens");
    CHECK(lens && lens->len == s.n_steps + 1);
    for (size_t p = 0; lens && p <= s.n_steps; p++) {
        const JsonValue *id = json_get(&lens->items[p], "id"), *probability = json_get(&lens->items[p], "probability");
        CHECK(id && id->integer == h.ids[p * LAB_TOP]);
        CHECK(probability);
        if (probability) /* the same head on as many rows in another tile: f32 sums of 192 products */
            CHECK_NEAR(h.p[p * LAB_TOP], probability->number, 1e-5);
    }
    LabHead *all = calloc(s.n_steps + 1, sizeof *all); /* at every token, the last among them */
    CHECK(!lab_lens(lab, &s, ids, NULL, 0, 1, all, &e));
    for (size_t p = 0; p <= s.n_steps; p++) {
        CHECK(all[p].ids[(n - 1) * LAB_TOP] == h.ids[p * LAB_TOP]);
        CHECK_NEAR(all[p].p[(n - 1) * LAB_TOP], h.p[p * LAB_TOP], 1e-5);
        CHECK(p < s.n_steps ? all[p].kl[0] > 0 : fabs(all[p].kl[0]) <= 1e-6);
        lab_head_free(&all[p]);
    }
    free(all);
    const JsonValue *next = json_get(root, "next");
    for (size_t i = 0; next && i < next->len; i++)
        CHECK(json_get(&next->items[i], "id")->integer == h.ids[s.n_steps * LAB_TOP + i]);
    lab_head_free(&h);
    lab_stream_close(lab, &s);
    free(rows);
    free(ids);
    lab_close(lab);
    workbench_close(&bench);
    arena_free(&arena);
    free(printed);
}

static void end_of(Bench *b, const Order *order, double *out)
{
    LabStream s;
    if (walk(b, order, &s)) {
        lab_node_rows(b->lab, s.point[s.n_steps], 0, b->n, out);
        lab_stream_close(b->lab, &s);
    }
}

/* A stream taken from the cache has the bits of one that is computed, also after many others have passed through. */
static void test_cache_changes_nothing(void)
{
    Bench b, cold;
    if (open_bench(&b, "tests/data/models/llama", "fast", NULL)) {
        size_t bytes = b.n * b.bench.model.traits.d_model * sizeof(double);
        double *warm = malloc(bytes), *again = malloc(bytes);
        static const char *const texts[] = {"0-1", "1,0", "0,0,1", "0+1", "0.attn,1", "1x3"};
        for (size_t i = 0; i < 6; i++) {
            Order order = make_order(&b, texts[i]);
            end_of(&b, &order, warm);
            for (int other = 0; other < 200; other++) { /* other texts */
                b.ids[0] = other % 50;
                Order intact = make_order(&b, NULL);
                end_of(&b, &intact, again);
            }
            if (open_bench(&cold, "tests/data/models/llama", "fast", NULL)) {
                Order same = make_order(&cold, texts[i]);
                memcpy(b.ids, cold.ids, sizeof b.ids);
                end_of(&cold, &same, again);
                CHECK_MSG(memcmp(warm, again, bytes) == 0, "order %s", texts[i]);
                end_of(&b, &order, warm);
                CHECK_MSG(memcmp(warm, again, bytes) == 0, "order %s, later", texts[i]);
            }
            close_bench(&cold);
        }
        free(warm);
        free(again);
    }
    close_bench(&b);
}

/* The edited dimension has its value from the row on, everything before it is untouched, and the walk goes on from there. */
static void test_edits(void)
{
    Bench b;
    if (open_bench(&b, "tests/data/models/llama", "fast", NULL)) {
        Order order = make_order(&b, "0-1");
        LabStream plain, edited;
        Error e = {{0}};
        size_t d = b.bench.model.traits.d_model;
        LabEdit edits[2] = {{.point = 1, .dim = 3, .value = 2.5}, {.point = 1, .dim = 5, .value = 0}};
        LabText text = {.ids = b.ids, .n = b.n, .order = &order, .edits = edits, .n_edits = 2, .edit_from = 2};
        double *x = malloc(2 * b.n * d * sizeof *x), *y = x + b.n * d;
        if (walk(&b, &order, &plain) && !lab_walk(b.lab, &text, NULL, 0, 1, &edited, &e)) {
            lab_node_rows(b.lab, plain.point[1], 0, b.n, x);
            lab_node_rows(b.lab, edited.point[1], 0, b.n, y);
            for (size_t r = 0; r < b.n; r++)
                for (size_t i = 0; i < d; i++)
                    CHECK(y[r * d + i] == (r < 2 ? x[r * d + i] : i == 3 ? 2.5 : i == 5 ? 0 : x[r * d + i]));
            lab_node_rows(b.lab, plain.point[2], 0, b.n, x);
            lab_node_rows(b.lab, edited.point[2], 0, b.n, y);
            CHECK(memcmp(x, y, 2 * d * sizeof *x) == 0); /* causal: rows before the edit */
            CHECK(memcmp(x + 2 * d, y + 2 * d, d * sizeof *x) != 0);
            lab_stream_close(b.lab, &edited);
            lab_stream_close(b.lab, &plain);
        }
        free(x);
    }
    close_bench(&b);
}

static bool stop_at_once(void *user)
{
    ++*(int *)user;
    return true;
}

static void test_stop_and_limits(void)
{
    Bench b;
    if (open_bench(&b, "tests/data/models/llama", "fast", NULL)) {
        Order order = make_order(&b, "0-1");
        Error e = {{0}};
        LabStream s;
        int asked = 0;
        LabControl control = {.user = &asked, .should_stop = stop_at_once};
        LabText text = {.ids = b.ids, .n = b.n, .order = &order};
        CHECK(lab_walk(b.lab, &text, &control, 0, 1, &s, &e) == STATUS_INTERRUPTED && asked == 1);
        CHECK(walk(&b, &order, &s));
        lab_stream_close(b.lab, &s);
        int32_t many[MOST_TOKENS + 1] = {0};
        text = (LabText){.ids = many, .n = MOST_TOKENS + 1, .order = &order};
        CHECK(lab_walk(b.lab, &text, NULL, 0, 1, &s, &e) == STATUS_USAGE);
        Lab *lab;
        b.bench.session.memory_bytes = 1000;
        CHECK(lab_open(&b.bench, 64, &lab, &e) == STATUS_USAGE && strstr(e.text, "expected at least"));
    }
    close_bench(&b);
}

int main(void)
{
    list_all_models();
    RUN(test_losses_and_streams_equal_transformers);
    RUN(test_patterns_are_the_oracles);
    RUN(test_routes);
    RUN(test_lens_is_next);
    RUN(test_cache_changes_nothing);
    RUN(test_edits);
    RUN(test_stop_and_limits);
    return test_finish();
}
