/* test_diff_planted.c: does the study say what is true of a model whose every weight is known? The models are written here: three layers of
 * llama with attention off, layers 0 and 1 idle, so that the stream up to layer 2's MLP is the embedding. Words fall into 16 groups by the
 * signs of dimensions 0 to 3; pairs exchange words of one group, controls mostly do not: dimensions 0 to 3 are the stable ones.
 *
 * Layer 2's MLP cuts the differences in dimensions 16 to 31 by about nine tenths while dimension `gate` is +-1, and not while it is 0:
 *     x_j -= KAPPA z tanh(z / 2) x_j / rms,   z = BETA x_gate / rms   (two units: silu(z) + silu(-z) = z tanh(z / 2))
 * so what ablating the stable dimensions does is computed here in doubles. The head is 0: no ablation changes the loss. */
#include "experiments/studies.h"
#include "tests/temp_folder.h"

#include "engine/base/arena.h"
#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "engine/base/strbuf.h"

enum {
    D = 32,
    F = 32,
    STABLE = 4,
    CUT_FROM = 16, /* dimensions that are cut: 16 to 31 */
    N_FILLERS = 40,
    N_WORDS = 1000,
    V = N_FILLERS + N_WORDS,
    TEMPLATES = 24,
    PAIRS = 240,
    CORPUS_ROWS = 50,
    IDLE = -1,
    GATED_ALIKE = 4 /* +-1 at random in each word: as dimension 0, but not stable */
};
#define BETA 4.0f
#define KAPPA 0.225f

static float embedding[V][D];
static int32_t pairs[PAIRS][2];

static int group_of(size_t word)
{
    return (int)(word % 16);
}

static void draw_embedding(void)
{
    Rng rng;
    rng_seed(&rng, 5, 0);
    for (size_t v = 0; v < V; v++)
        for (size_t j = 0; j < D; j++) {
            double z = rng_normal(&rng);
            if (j < STABLE && v >= N_FILLERS)
                z = ((group_of(v - N_FILLERS) >> j) & 1 ? 1 : -1) + 0.1 * z;
            if (j == GATED_ALIKE)
                z = (z > 0 ? 1 : -1) + 0.1 * rng_normal(&rng);
            embedding[v][j] = (float)z;
        }
}

/* ---- the model's files ---- */

typedef struct Weights {
    StrBuf header, data;
} Weights;

static void put_tensor(Weights *w, const char *name, size_t rows, size_t cols, const float *values)
{
    size_t n = rows * (cols ? cols : 1), from = w->data.len;
    for (size_t i = 0; i < n; i++) {
        float x = values ? values[i] : cols ? 0 : 1; /* matrices of 0, norms of 1 */
        strbuf_append(&w->data, (const char *)&x, sizeof x);
    }
    strbuf_printf(&w->header, "%s\"%s\": {\"dtype\": \"F32\", \"shape\": [%zu", w->header.len ? ", " : "{", name, rows);
    if (cols)
        strbuf_printf(&w->header, ", %zu", cols);
    strbuf_printf(&w->header, "], \"data_offsets\": [%zu, %zu]}", from, w->data.len);
}

static void put_layer(Weights *w, int layer, int gate)
{
    static const struct {
        const char *name;
        size_t rows, cols;
    } idle[] = {{"input_layernorm", D, 0},      {"post_attention_layernorm", D, 0}, {"self_attn.q_proj", D, D},
                {"self_attn.k_proj", D / 2, D}, {"self_attn.v_proj", D / 2, D},     {"self_attn.o_proj", D, D}};
    static float gates[F][D], ups[F][D], downs[D][F];
    char name[96];
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, idle[i].name);
        put_tensor(w, name, idle[i].rows, idle[i].cols, NULL);
    }
    bool works = layer == 2 && gate != IDLE;
    memset(gates, 0, sizeof gates);
    memset(ups, 0, sizeof ups);
    memset(downs, 0, sizeof downs);
    for (size_t f = 0; works && f < F; f++) {
        size_t j = CUT_FROM + f / 2;
        gates[f][gate] = f % 2 ? -BETA : BETA;
        ups[f][j] = 1;
        downs[j][f] = -KAPPA;
    }
    const float *matrices[] = {gates[0], ups[0], downs[0]};
    static const char *const names[] = {"gate", "up", "down"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "model.layers.%d.mlp.%s_proj.weight", layer, names[i]);
        put_tensor(w, name, i == 2 ? D : F, i == 2 ? F : D, matrices[i]);
    }
}

static void write_model(int gate)
{
    Weights w = {0};
    StrBuf file = {0};
    char config[512];
    int n = snprintf(config, sizeof config,
                     "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": %d, "
                     "\"intermediate_size\": %d, \"num_hidden_layers\": 3, \"num_attention_heads\": 4, "
                     "\"num_key_value_heads\": 2, \"head_dim\": 8, \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-6, "
                     "\"max_position_embeddings\": 64, \"rope_theta\": 10000.0, \"tie_word_embeddings\": false, "
                     "\"vocab_size\": %d}",
                     D, F, V);
    write_temp("model/config.json", config, (size_t)n);
    put_tensor(&w, "model.embed_tokens.weight", V, D, embedding[0]);
    for (int layer = 0; layer < 3; layer++)
        put_layer(&w, layer, gate);
    put_tensor(&w, "model.norm.weight", D, 0, NULL);
    put_tensor(&w, "lm_head.weight", V, D, NULL);
    strbuf_puts(&w.header, "}");
    uint64_t length = w.header.len;
    strbuf_append(&file, (const char *)&length, sizeof length);
    strbuf_append(&file, w.header.data, w.header.len);
    strbuf_append(&file, w.data.data, w.data.len);
    CHECK(!file.failed && !w.data.failed);
    write_temp("model/model.safetensors", file.data, file.len);
    strbuf_free(&w.header);
    strbuf_free(&w.data);
    strbuf_free(&file);
}

/* ---- pairs and corpus ---- */

static void put_sentence(StrBuf *out, const char *name, size_t template, int32_t word)
{
    strbuf_printf(out, "\"%s\": [%zu, %zu, %d, %zu, %zu]", name, template, template + 1, word, template + 2, template + 3);
}

/* across: the words of a pair may come from any group: nothing is stable. */
static void put_pairs(StrBuf *text, const char *category, bool across)
{
    StrBuf out = *text;
    Rng rng;
    rng_seed(&rng, 6, across);
    for (size_t i = 0; i < PAIRS; i++) {
        size_t a = rng_below(&rng, N_WORDS), b = a;
        while (b == a || (!across && group_of(a) != group_of(b)))
            b = rng_below(&rng, N_WORDS);
        pairs[i][0] = (int32_t)(N_FILLERS + a);
        pairs[i][1] = (int32_t)(N_FILLERS + b);
        strbuf_printf(&out, "{\"a\": \"%s %zu a\", \"b\": \"%s %zu b\", \"category\": \"%s\", \"template\": \"t%zu\", ",
                      category, i, category, i, category, i % TEMPLATES);
        strbuf_printf(&out, "\"words\": [\"w%zu\", \"w%zu\"], ", a, b);
        put_sentence(&out, "ids_a", i % TEMPLATES, pairs[i][0]);
        strbuf_puts(&out, ", ");
        put_sentence(&out, "ids_b", i % TEMPLATES, pairs[i][1]);
        strbuf_puts(&out, ", \"edit_index\": 2, \"onset_index\": null, ");
        strbuf_puts(&out, strcmp(category, "subject") ? "\"error_side\": \"b\"}\n" : "\"error_side\": null}\n");
    }
    *text = out;
}

static void write_pairs(bool across, bool with_errors)
{
    StrBuf out = {0};
    if (with_errors)
        put_pairs(&out, "spelling", true);
    put_pairs(&out, "subject", across);
    CHECK(!out.failed);
    write_temp("pairs.jsonl", out.data, out.len);
    strbuf_free(&out);
}

/* Every word once, so that all are equally frequent. */
static void write_corpus(void)
{
    StrBuf out = {0};
    for (size_t row = 0; row < CORPUS_ROWS; row++) {
        strbuf_puts(&out, "{\"ids\": [");
        for (size_t i = 0; i < N_WORDS / CORPUS_ROWS; i++)
            strbuf_printf(&out, "%s%zu", i ? ", " : "", N_FILLERS + i * CORPUS_ROWS + row);
        strbuf_puts(&out, "]}\n");
    }
    write_temp("corpus.jsonl", out.data, out.len);
    strbuf_free(&out);
}

/* ---- what must come out ---- */

/* Means over positions 1 on of all rows: what the ablated dimensions are held at. */
static double corpus_mean(size_t j)
{
    double sum = 0;
    for (size_t v = CORPUS_ROWS; v < N_WORDS; v++) /* the first CORPUS_ROWS words begin a row */
        sum += (double)embedding[N_FILLERS + v][j];
    return sum / (N_WORDS - CORPUS_ROWS);
}

/* A word's stream behind layer 2, its stable dimensions held or not. */
static void last_stream(int32_t word, int gate, bool held, double x[D])
{
    double squares = 0;
    for (size_t j = 0; j < D; j++) {
        x[j] = held && j < STABLE ? corpus_mean(j) : (double)embedding[word][j];
        squares += x[j] * x[j];
    }
    double rms = sqrt(squares / D + 1e-6), z = gate == IDLE ? 0 : BETA * x[gate] / rms;
    for (size_t j = CUT_FROM; j < D; j++)
        x[j] -= KAPPA * z * tanh(z / 2) * x[j] / rms;
}

static double distance_outside(const double *a, const double *b)
{
    double sum = 0;
    for (size_t j = STABLE; j < D; j++)
        sum += (a[j] - b[j]) * (a[j] - b[j]);
    return sqrt(sum);
}

/* Area behind layer 1 in the dimensions left alone, ablated over intact: layer 1 passes the embedding on, layer 2 works. */
static double expected_effect(int gate)
{
    double area[2] = {0, 0};
    for (size_t i = 0; i < PAIRS; i++)
        for (int held = 0; held < 2; held++) {
            double a[D], b[D];
            last_stream(pairs[i][0], IDLE, held, a);
            last_stream(pairs[i][1], IDLE, held, b);
            area[held] += distance_outside(a, b);
            last_stream(pairs[i][0], gate, held, a);
            last_stream(pairs[i][1], gate, held, b);
            area[held] += distance_outside(a, b);
        }
    return area[1] / area[0];
}

static double number_of(const JsonValue *object, const char *key)
{
    const JsonValue *v = json_get(object, key);
    return v && v->kind == JSON_NUMBER ? v->number : NAN;
}

static void read_result(Arena *arena, const JsonValue **out)
{
    StrBuf text = {0};
    Error e = {{0}};
    char *path = temp_path("out/diff.json");
    CHECK_MSG(file_read(path, 1 << 24, &text, &e) == 0 && json_parse(text.data, text.len, path, arena, out, &e) == 0, "%s",
              e.text);
    strbuf_free(&text);
    free(path);
}

static bool run_study(int gate, bool across, bool with_errors, Arena *arena, const JsonValue **out)
{
    char *model = temp_path("model"), *file = temp_path("pairs.jsonl"), *corpus = temp_path("corpus.jsonl"),
         *dir = temp_path("out");
    StrataError e;
    write_model(gate);
    write_pairs(across, with_errors);
    StrataDiffOptions o = {.common = {.model_name = model, .threads = 2, .quiet = 1, .memory_bytes = 1 << 28, .context = 64},
                           .pairs = file,
                           .dataset_path = corpus,
                           .output_dir = dir,
                           .lens_pairs = 1,
                           .floor_pairs = 1,
                           .ablation_pairs = PAIRS,
                           .no_figures = 1,
                           .force = 1};
    int status = strata_diff(&o, &e);
    CHECK_MSG(status == 0, "%s", e.text);
    free(model);
    free(file);
    free(corpus);
    free(dir);
    *out = NULL;
    if (status == 0)
        read_result(arena, out);
    return *out != NULL;
}

/* The category's only ablation: at the stable dimensions, of the first point they are claimed at. */
static const JsonValue *only_ablation(const JsonValue *d)
{
    const JsonValue *list = json_get(d, "ablation"), *category = &json_get(d, "categories")->items[0];
    CHECK(number_of(category, "n_matched") == PAIRS);
    CHECK(list && list->len == 1);
    if (!list || list->len != 1)
        return NULL;
    const JsonValue *a = &list->items[0], *dims = json_get(a, "dims");
    CHECK(number_of(a, "layer") == 1 && number_of(a, "n_pairs") == PAIRS && dims->len == STABLE);
    bool is_stable[STABLE] = {false};
    for (size_t k = 0; k < dims->len; k++) {
        CHECK_MSG(dims->items[k].integer < STABLE, "dimension %lld is ablated", (long long)dims->items[k].integer);
        is_stable[dims->items[k].integer % STABLE] = true;
    }
    for (size_t k = 0; k < STABLE; k++)
        CHECK(is_stable[k]);
    CHECK(number_of(a, "loss_edited_p") == 1); /* the head is 0: all sets are alike */
    CHECK_NEAR(number_of(a, "loss_edited_claimed"), log(V), 1e-6);
    return a;
}

static double effect_of(const JsonValue *a)
{
    return number_of(a, "area_claimed") / number_of(a, "area_claimed_before");
}

static void ablating_the_planted_dimensions_tells(void)
{
    Arena arena = {0};
    const JsonValue *d, *a = run_study(0, false, false, &arena, &d) ? only_ablation(d) : NULL;
    if (a) {
        /* f32 streams of about 1, sums of 240 distances of about 5: 1e-6 relative and some. */
        CHECK_NEAR(effect_of(a), expected_effect(0), 1e-5);
        CHECK(effect_of(a) > 1.1 && number_of(a, "area_p") == 1.0 / 20);
    }
    arena_free(&arena);
}

/* The same claims, but nothing behind them reads anything. */
static void ablating_what_nobody_reads_tells_nothing(void)
{
    Arena arena = {0};
    const JsonValue *d, *a = run_study(IDLE, false, false, &arena, &d) ? only_ablation(d) : NULL;
    if (a)
        CHECK(fabs(effect_of(a) - 1) < 1e-6 && number_of(a, "area_p") == 1);
    arena_free(&arena);
}

/* The same claims; what is read is another dimension, which is as good as any of the random ones. */
static void another_dimensions_effect_is_not_the_claims(void)
{
    Arena arena = {0};
    const JsonValue *d, *a = run_study(GATED_ALIKE, false, false, &arena, &d) ? only_ablation(d) : NULL;
    if (a) {
        CHECK_NEAR(effect_of(a), expected_effect(GATED_ALIKE), 1e-5);
        CHECK(number_of(a, "area_p") > 0.05);
    }
    arena_free(&arena);
}

/* Pairs as far and as different as their controls. */
static void noise_claims_and_ablates_nothing(void)
{
    Arena arena = {0};
    const JsonValue *d;
    if (run_study(0, true, false, &arena, &d))
        CHECK(number_of(json_get(d, "fdr"), "n_claims") == 0 && json_get(d, "ablation")->len == 0 &&
              number_of(json_get(d, "fdr"), "n_tested") > 100);
    arena_free(&arena);
}

static double at_layer(const JsonValue *object, const char *key, size_t layer)
{
    const JsonValue *list = json_get(object, key);
    return list && layer < list->len && list->items[layer].kind == JSON_NUMBER ? list->items[layer].number : NAN;
}

/* The curve `name` at the edited token of category c. */
static const JsonValue *curve_of(const JsonValue *d, size_t c, const char *name)
{
    return json_get(json_get(json_get(&json_get(d, "categories")->items[c], "positions")->items, "curves"), name);
}

/* Errors and meanings whose words lie as far as their controls' change the stream's norm as much as these: the contrast is the difference
 * of the ratios, between its bounds, and finds none. */
static void equal_errors_and_meanings_are_not_told_apart(void)
{
    Arena arena = {0};
    const JsonValue *d, *list = run_study(IDLE, false, true, &arena, &d) ? json_get(d, "contrast") : NULL;
    bool seen = false;
    for (size_t i = 0; list && i < list->len; i++) {
        const JsonValue *x = &list->items[i];
        if (strcmp(json_get(x, "position")->string, "edited") || strcmp(json_get(x, "curve")->string, "norm"))
            continue;
        const JsonValue *meanings = curve_of(d, 0, "norm"), *errors = curve_of(d, 1, "norm");
        double least = at_layer(errors, "ratio_least", 1) - at_layer(meanings, "ratio", 1),
               most = at_layer(errors, "ratio", 1) - at_layer(meanings, "ratio_least", 1);
        seen = true;
        CHECK_STR(json_get(x, "errors")->items[0].string, "spelling");
        CHECK_STR(json_get(x, "meanings")->items[0].string, "subject");
        CHECK(json_get(x, "errors")->len == 1 && json_get(x, "meanings")->len == 1 && least < most);
        CHECK_NEAR(at_layer(x, "difference", 1), (least + most) / 2, 1e-12);
        CHECK(at_layer(x, "lo", 1) < least && most < at_layer(x, "hi", 1));
        CHECK_MSG(at_layer(x, "lo", 1) < 0 && at_layer(x, "hi", 1) > 0 && at_layer(x, "p", 1) > 0.05 &&
                      at_layer(x, "hi", 1) - at_layer(x, "lo", 1) < 0.2,
                  "%g [%g, %g]", at_layer(x, "difference", 1), at_layer(x, "lo", 1), at_layer(x, "hi", 1));
    }
    CHECK(seen);
    arena_free(&arena);
}

int main(void)
{
    if (!temp_begin())
        return 1;
    draw_embedding();
    write_corpus();
    RUN(ablating_the_planted_dimensions_tells);
    RUN(ablating_what_nobody_reads_tells_nothing);
    RUN(another_dimensions_effect_is_not_the_claims);
    RUN(noise_claims_and_ablates_nothing);
    RUN(equal_errors_and_meanings_are_not_told_apart);
    temp_end();
    return test_finish();
}
