/* test_pos.c: parts of speech from a ledger made by hand, whose every figure follows from the tables below; which folder a model's
 * name means; damaged results; intervals on simulated articles, whose coverage is counted. */
#include "tests/test.h"

#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/rng.h"
#include "engine/base/strbuf.h"
#include "engine/ledger.h"
#include "experiments/pos_run.h"
#include "experiments/pos_words.h"
#include "experiments/result_file.h"
#include "experiments/statistics.h"
#include "experiments/tagger_scores.h"

static char temp[] = "/tmp/strata-pos-XXXXXX";

/* ---- a result by hand ----
 * Row 0 is a heading; rows 1..25 hold thrice " Dogs bark . Cats <unk> ." with the tokens " Do" "gs" " bark" " ." " Ca" "ts" " <unk>" " .".
 * Row r is article r - 1; the heading is article 25, of which no body row was taken. In row 25 the first token is not predicted. */
enum { N_ROWS = 26, N_ORDERS = 3, N_PIECES = 8, N_REPEATS = 3, MAX_TOKENS = 26 * 24 + 8 };
static const char *const pieces[N_PIECES] = {" Do", "gs", " bark", " .", " Ca", "ts", " <unk>", " ."};
static const int tag_of_piece[N_PIECES] = {0, 0, 1, 2, 0, 0, 3, 2}; /* NOUN VERB PUNCT, the <unk> */
static const char *const tag_names[3] = {"NOUN", "VERB", "PUNCT"};
static const bool opens_word[N_PIECES] = {true, false, true, true, true, false, true, true};

static int32_t token_id[MAX_TOKENS], row_of[MAX_TOKENS], window_of[MAX_TOKENS], position[MAX_TOKENS], piece_of[MAX_TOKENS];
static int64_t byte_start[MAX_TOKENS], byte_end[MAX_TOKENS];
static size_t n_tokens;

static void lay_tokens(void)
{
    n_tokens = 0;
    for (int row = 0; row < N_ROWS; row++) {
        int64_t at = 0;
        int n = row ? N_PIECES * N_REPEATS : 3;
        for (int i = 0; i < n; i++) {
            static const char *const heading[] = {" =", " Dogs", " ="};
            int64_t len = (int64_t)strlen(row ? pieces[i % N_PIECES] : heading[i]);
            bool predicted = !(row == N_ROWS - 1 && i == 0);
            if (predicted) {
                row_of[n_tokens] = window_of[n_tokens] = row;
                position[n_tokens] = i + 1;
                piece_of[n_tokens] = row ? i % N_PIECES : -1;
                byte_start[n_tokens] = at;
                byte_end[n_tokens++] = at + len;
            }
            at += len;
        }
    }
}

/* Multiples of 1/64: sums are exact. Order 1 harms nouns, the more the later the article; order 2 everything alike. */
static double loss(size_t order, size_t t)
{
    double intact = 2 + (double)(t % 3) / 4;
    int tag = piece_of[t] < 0 ? -1 : tag_of_piece[piece_of[t]];
    if (order == 0)
        return intact;
    if (order == 2)
        return intact + 0.5;
    return intact + (tag == 0 ? 0.5 + (double)(row_of[t] - 12) / 64 : tag == 2 ? -0.25 : 0);
}

static double border(size_t order, size_t t)
{
    return -(double)(1 + t % (order ? 7 : 5)) / 8;
}

static int32_t rank_of(size_t order, size_t t)
{
    return (t + order) % 4 == 0 ? 3 : 0;
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char *path = file_join(dir, name);
    Error e = {""};
    CHECK_MSG(path && file_write_atomic(path, text, strlen(text), &e) == 0, "%s", e.text);
    free(path);
}

static void write_ledger(const char *dir)
{
    static double nll[MAX_TOKENS], kl[MAX_TOKENS], logp[MAX_TOKENS];
    static int32_t rank[MAX_TOKENS], top1[MAX_TOKENS];
    LedgerShape shape = {.n_orders = N_ORDERS,
                         .n_tokens = n_tokens,
                         .nll_dtype = DTYPE_F64,
                         .n_blocks = 1,
                         .block_tokens = &n_tokens,
                         .fingerprint = "by hand"};
    LedgerTokens tokens = {token_id, row_of, window_of, position, byte_start, byte_end};
    Ledger *l = NULL;
    size_t first;
    Error e = {""};
    CHECK_MSG(ledger_open(dir, &shape, &tokens, &l, &first, &e) == 0, "%s", e.text);
    for (size_t o = 0; l && o < N_ORDERS; o++) {
        for (size_t t = 0; t < n_tokens; t++) {
            nll[t] = loss(o, t);
            kl[t] = o ? 0.5 : 0;
            logp[t] = border(o, t);
            rank[t] = rank_of(o, t);
            top1[t] = o && t % 2 ? 7 : 9;
        }
        LedgerBlock block = {nll, kl, logp, rank, top1};
        CHECK_MSG(ledger_write(l, 0, o, &block, &e) == 0, "%s", e.text);
    }
    CHECK_MSG(l && ledger_commit(l, 0, &e) == 0 && ledger_finish(l, &e) == 0, "%s", e.text);
    ledger_close(l);
}

static void write_ppl(const char *dir, const char *model)
{
    StrBuf b = {0};
    strbuf_printf(
        &b,
        "{\"schema\": \"strata.ppl/1\", \"model\": \"%s\", \"dataset\": \"wiki-text-2\", \"experiment\": \"removal\", "
        "\"n_samples\": 26, \"protocol\": {\"bootstrap_unit\": \"article\", \"seed\": 5, \"n_resamples\": 400}, "
        "\"baseline\": {\"name\": \"intact\", \"ledger_index\": 0, \"order\": [0, 1], \"spec\": \"0-1\"}, \"orders\": ["
        "{\"name\": \"removal_0\", \"ledger_index\": 1, \"order\": [1], \"spec\": \"1\"}, "
        "{\"name\": \"removal_1\", \"ledger_index\": 2, \"order\": null, \"spec\": \"0\"}]}",
        model);
    write_text(dir, "ppl.json", b.data);
    strbuf_free(&b);
}

static void write_rows(const char *dir)
{
    StrBuf rows = {0}, gold = {0};
    strbuf_puts(&rows, "{\"row\":0,\"line\":1,\"kind\":\"heading\",\"article\":25,\"n_tokens\":3,\"text\":\" = Dogs =\"}\n");
    strbuf_puts(&gold, "1\tDogs\t_\tNOUN\tNNS\t_\t_\t_\t_\t_\n\n");
    for (int row = 1; row < N_ROWS; row++) {
        strbuf_printf(&rows, "{\"row\":%d,\"line\":%d,\"kind\":\"body\",\"article\":%d,\"n_tokens\":24,\"text\":\"", row,
                      row + 1, row - 1);
        for (int i = 0; i < N_PIECES * N_REPEATS; i++)
            strbuf_puts(&rows, pieces[i % N_PIECES]);
        strbuf_puts(&rows, "\"}\n");
        for (int i = 0; i < N_REPEATS; i++)
            strbuf_puts(&gold, "1\tDogs\t_\tNOUN\tNNS\t_\t_\t_\t_\t_\n2\tbark\t_\tVERB\tVBP\t_\t_\t_\t_\t_\n"
                               "3\t.\t_\tPUNCT\t.\t_\t_\t_\t_\t_\n\n1\tCats\t_\tNOUN\tNNS\t_\t_\t_\t_\t_\n"
                               "2\t<unk>\t_\tVERB\tVBP\t_\t_\t_\t_\t_\n3\t.\t_\tPUNCT\t.\t_\t_\t_\t_\t_\n\n");
    }
    write_text(dir, "rows.jsonl", rows.data);
    write_text(temp, "gold.conllu", gold.data);
    strbuf_free(&rows);
    strbuf_free(&gold);
}

static void make_result(const char *slug, const char *model, char dir[256])
{
    Error e = {""};
    snprintf(dir, 256, "%s/removal/%s_wiki-text-2_n26", temp, slug);
    CHECK_MSG(file_make_dirs(dir, &e) == 0, "%s", e.text);
    lay_tokens();
    write_ledger(dir);
    write_rows(dir);
    write_ppl(dir, model);
}

/* ---- what must come out ---- */

typedef struct Expected {
    double loss, corrected;
    size_t n_words, n_tokens, n_top, n_first, n_right, n_agree;
} Expected;

static bool is_counted(size_t t)
{
    return piece_of[t] >= 0 && tag_of_piece[piece_of[t]] < 3 && !(row_of[t] == N_ROWS - 1 && position[t] == 2);
}

/* Over the words of a tag (-1: all counted ones), token by token; tokens of a word lie side by side. */
static Expected expect(size_t order, int tag)
{
    Expected x = {0};
    for (size_t t = 0, end; t < n_tokens; t = end) {
        end = t + 1;
        if (!is_counted(t))
            continue;
        while (end < n_tokens && row_of[end] == row_of[t] && !opens_word[piece_of[end]])
            end++;
        if (tag >= 0 && tag_of_piece[piece_of[t]] != tag)
            continue;
        bool right = true;
        x.n_words++;
        x.n_first += rank_of(order, t) == 0;
        x.corrected += border(order, t);
        for (size_t k = t; k < end; k++) {
            x.loss += loss(order, k);
            x.corrected += loss(order, k);
            x.n_top += rank_of(order, k) == 0;
            x.n_agree += order == 0 || k % 2 == 0;
            right = right && rank_of(order, k) == 0;
            x.n_tokens++;
        }
        x.n_right += right;
        if (end < n_tokens && row_of[end] == row_of[t])
            x.corrected -= border(order, end);
    }
    return x;
}

static double number(const ResultNode *node, const char *field)
{
    double x = NAN;
    Error e = {""};
    CHECK_MSG(result_number(node, field, &x, &e) == 0, "%s", e.text);
    return x;
}

static bool find_value(const ResultFile *file, const char *by, const char *value, ResultNode *out)
{
    ResultNode groups, group = {0}, values, item;
    Error e = {""};
    const char *text;
    CHECK_MSG(result_child(&file->root, "groups", &groups, &e) == 0, "%s", e.text);
    while (result_each(&groups, &group)) {
        if (result_string(&group, "by", &text, &e) || strcmp(text, by) != 0 || result_child(&group, "values", &values, &e))
            continue;
        for (item = (ResultNode){0}; result_each(&values, &item);)
            if (!result_string(&item, "value", &text, &e) && strcmp(text, value) == 0) {
                *out = item;
                return true;
            }
    }
    CHECK_MSG(false, "pos.json has no %s %s", by, value);
    return false;
}

static bool order_at(const ResultNode *value, size_t index, ResultNode *out)
{
    ResultNode orders;
    Error e = {""};
    *out = (ResultNode){0};
    if (index == 0)
        return result_child(value, "baseline", out, &e) == 0;
    if (result_child(value, "orders", &orders, &e))
        return false;
    for (size_t i = 1; result_each(&orders, out); i++)
        if (i == index)
            return true;
    return false;
}

/* Sums are exact; a division and a difference of two remain: 1e-14 is fifty times their rounding. */
static void check_value(const ResultFile *file, const char *by, const char *name, int tag)
{
    ResultNode value, node;
    if (!find_value(file, by, name, &value))
        return;
    Expected intact = expect(0, tag), all_intact = expect(0, -1);
    CHECK(number(&value, "n_words") == (double)intact.n_words && number(&value, "n_tokens") == (double)intact.n_tokens);
    for (size_t o = 0; o < N_ORDERS; o++) {
        Expected x = expect(o, tag), all = expect(o, -1);
        double words = (double)x.n_words, tokens = (double)x.n_tokens;
        CHECK(order_at(&value, o, &node));
        CHECK_NEAR(number(&node, "nll"), x.loss / tokens, 1e-14);
        CHECK_NEAR(number(&node, "word_nll"), x.loss / words, 1e-14);
        CHECK_NEAR(number(&node, "word_nll_corrected"), x.corrected / words, 1e-14);
        CHECK_NEAR(number(&node, "token_accuracy"), (double)x.n_top / tokens, 1e-14);
        CHECK_NEAR(number(&node, "first_token_accuracy"), (double)x.n_first / words, 1e-14);
        CHECK_NEAR(number(&node, "word_accuracy"), (double)x.n_right / words, 1e-14);
        CHECK_NEAR(number(&node, "agreement"), (double)x.n_agree / tokens, 1e-14);
        CHECK_NEAR(number(&node, "kl"), o ? 0.5 : 0, 1e-14);
        if (!o)
            continue;
        double delta = (x.loss - intact.loss) / tokens, word_delta = (x.loss - intact.loss) / words;
        CHECK_NEAR(number(&node, "delta_nll"), delta, 1e-14);
        CHECK_NEAR(number(&node, "delta_word_nll"), word_delta, 1e-14);
        CHECK_NEAR(number(&node, "delta_word_nll_corrected"), (x.corrected - intact.corrected) / words, 1e-14);
        if (tag < 0)
            continue;
        double other_tokens = (double)(all.n_tokens - x.n_tokens), other_words = (double)(all.n_words - x.n_words);
        double others = (all.loss - x.loss) - (all_intact.loss - intact.loss);
        double corrected = (all.corrected - x.corrected) - (all_intact.corrected - intact.corrected);
        CHECK_NEAR(number(&node, "contrast"), delta - others / other_tokens, 1e-14);
        CHECK_NEAR(number(&node, "word_contrast"), word_delta - others / other_words, 1e-14);
        CHECK_NEAR(number(&node, "word_contrast_corrected"), (x.corrected - intact.corrected) / words - corrected / other_words,
                   1e-14);
    }
}

static void check_intervals(const ResultFile *file)
{
    ResultNode value, node;
    Error e = {""};
    double ci[2] = {NAN, NAN}, most[2] = {NAN, NAN};
    CHECK(find_value(file, "upos", "NOUN", &value) && order_at(&value, 1, &node));
    CHECK(result_numbers(&node, "contrast_ci95", ci, 2, &e) == 0 && result_numbers(&node, "contrast_maxt95", most, 2, &e) == 0);
    double contrast = number(&node, "contrast");
    CHECK_MSG(ci[0] < contrast && contrast < ci[1], "%g in [%g, %g]", contrast, ci[0], ci[1]);
    /* Two ranked tags of opposite contrasts under the one order that varies: max-t has next to nothing to add to the pointwise. */
    CHECK_NEAR(contrast - most[0], most[1] - contrast, 1e-14);
    CHECK_NEAR(most[1] - most[0], ci[1] - ci[0], 0.1 * (ci[1] - ci[0]));
    /* Articles' changes are 0.5 + k/64, k = -11..13 (24 or so to the article alike): standard error of their mean 7.2/64/5. */
    CHECK_NEAR((ci[1] - ci[0]) / 2, 1.96 * 7.2 / 64 / 5, 0.15 * 1.96 * 7.2 / 64 / 5);
    CHECK(order_at(&value, 2, &node) && result_numbers(&node, "delta_nll_ci95", ci, 2, &e) == 0 && ci[0] == 0.5 &&
          ci[1] == 0.5);
    CHECK(find_value(file, "upos", "VERB", &value) && order_at(&value, 1, &node)); /* 75 words: an interval, no rank */
    CHECK(result_has(&node, "contrast_ci95") && !result_has(&node, "contrast_maxt95"));
}

static int run_pos(const char *name, const char *gold, Error *e)
{
    char path[300];
    snprintf(path, sizeof path, "%s/gold.conllu", temp);
    StrataPosOptions o = {.common = {.model_name = name, .quiet = 1},
                          .dataset_type = "wiki-text-2",
                          .output_dir = temp,
                          .sample_size = 26,
                          .fine = 1,
                          .gold = gold ? path : NULL};
    return strata_pos(&o, e);
}

static void read_file(const char *dir, const char *name, StrBuf *out)
{
    char *path = file_join(dir, name);
    Error e = {""};
    strbuf_reset(out);
    CHECK_MSG(path && file_read(path, 1 << 26, out, &e) == 0, "%s", e.text);
    free(path);
}

static void test_by_hand(void)
{
    char dir[256], path[300];
    Error e = {""};
    ResultFile file = {0};
    ResultNode counts;
    StrBuf first = {0}, again = {0};
    make_result("org_My_Model", "org/My-Model", dir);
    CHECK_MSG(run_pos("My-Model", "gold", &e) == 0, "%s", e.text);
    snprintf(path, sizeof path, "%s/pos.json", dir);
    CHECK_MSG(result_file_open(path, "strata.pos.1", &file, &e) == 0, "%s", e.text);
    if (!file.json)
        return;
    for (int tag = 0; tag < 3; tag++)
        check_value(&file, "upos", tag_names[tag], tag);
    check_value(&file, "all", "all", -1);
    check_value(&file, "xpos", "NNS", 0);
    check_value(&file, "upos_confident", "PUNCT", 2); /* gold tags are certain */
    check_intervals(&file);
    CHECK(result_child(&file.root, "counts", &counts, &e) == 0);
    CHECK(number(&counts, "words") == 1 + 25 * 18 && number(&counts, "body_words") == 25 * 18 &&
          number(&counts, "unknown") == 75 && number(&counts, "unscored") == 1 && number(&counts, "counted") == 25 * 15 - 1);
    read_file(dir, "pos.json", &first);
    CHECK_MSG(run_pos("org_My_Model", "gold", &e) == 0, "%s", e.text);
    read_file(dir, "pos.json", &again);
    CHECK(first.len > 1000 && first.len == again.len && memcmp(first.data, again.data, first.len) == 0);
    read_file(dir, "figures/pos_heatmap.csv", &again);
    CHECK(again.data && strncmp(again.data, "tag,is_ranked,order,place,word_contrast,", 40) == 0);
    read_file(dir, "figures/pos_heatmap.svg", &again);
    CHECK(again.data && strstr(again.data, "from 25 articles"));     /* the title's own article has no counted word */
    CHECK_MSG(run_pos("org/My-Model", NULL, &e) == 0, "%s", e.text); /* and the tagger's own tags */
    read_file(dir, "pos_words.csv", &again);
    CHECK(strstr(again.data, "\n0,3,7,") && strstr(again.data, ",heading,1,1,") && strstr(again.data, ",unscored,"));
    result_file_close(&file);
    strbuf_free(&first);
    strbuf_free(&again);
}

static void expect_refusal(const char *name, int status, const char *text)
{
    Error e = {""};
    int got = run_pos(name, NULL, &e);
    CHECK_MSG(got == status && strstr(e.text, text), "%s: %d \"%s\", expected %d with \"%s\"", name, got, e.text, status, text);
}

static void test_names(void)
{
    char dir[256];
    Error e = {""};
    make_result("org_My_Model_Instruct", "org/My-Model-Instruct", dir);
    CHECK_MSG(run_pos("My-Model", NULL, &e) == 0, "%s", e.text);
    CHECK_MSG(run_pos("My-Model-Instruct", NULL, &e) == 0, "%s", e.text);
    CHECK_MSG(run_pos(dir, NULL, &e) == 0, "%s", e.text);
    expect_refusal("My", STATUS_USAGE, "org_My_Model_Instruct_wiki-text-2_n26");
    expect_refusal("My-Model-", STATUS_USAGE, "no finished result");
    expect_refusal("", STATUS_USAGE, "--model_name is missing");
    make_result("else_My_Model", "else/My-Model", dir);
    expect_refusal("My-Model", STATUS_USAGE, "2 results match");
    CHECK_MSG(run_pos("org/My-Model", NULL, &e) == 0, "%s", e.text);
    CHECK_MSG(run_pos("else_My_Model", NULL, &e) == 0, "%s", e.text);
}

static void test_damage(void)
{
    char dir[256];
    make_result("bad", "bad", dir);
    write_text(dir, "rows.jsonl", "{\"row\":0,\"text\":\"a\"}\n");
    expect_refusal("bad", STATUS_FAILED, "ledger.safetensors: token 3");
    write_text(dir, "rows.jsonl", "{\"row\":0,\"ids\":[1,2]}\n");
    expect_refusal("bad", STATUS_USAGE, "without text");
    write_rows(dir);
    byte_end[5] = 4000;
    write_text(dir, "ledger.safetensors", "");
    expect_refusal("bad", STATUS_FAILED, "ledger.safetensors");
    char path[300];
    snprintf(path, sizeof path, "%s/ledger.safetensors", dir);
    unlink(path);
    write_ledger(dir);
    expect_refusal("bad", STATUS_FAILED, "4000");
    write_text(dir, "ppl.json", "{\"schema\": \"strata.ppl/1\"}");
    expect_refusal(dir, STATUS_FAILED, "ppl.json");
}

/* The figures' captions are void for another tagger than the measured one. */
static void test_scores(void)
{
    CHECK_MSG(!isnan(tagger_scores_accuracy()), "tagger %.16s is not the measured one: run tools/make_tagger_scores.py",
              tagger_scores_version());
    CHECK(tagger_scores_f1(0) > 0.5 && tagger_scores_f1(0) <= 1 && isnan(tagger_scores_f1(17)) && isnan(tagger_scores_f1(-1)));
}

/* ---- coverage ----
 * Articles of 100 to 900 words; per tag a share of them, a true change, a shift of the whole article (the clustering) and noise of the
 * words. The truth of a ratio of sums is the tag's change, shifts being independent of sizes. */
enum { SIM_UNITS = 60, SIM_TAGS = 5, SIM_RUNS = 400, SIM_RESAMPLES = 500 };

static void simulate(Rng *rng, double *numerators, double *denominators)
{
    for (size_t u = 0; u < SIM_UNITS; u++) {
        double total = (double)(100 + rng_below(rng, 801)), common = 0.1 * rng_normal(rng);
        for (size_t v = 0; v < SIM_TAGS; v++) {
            double words = floor(total * (0.1 + 0.05 * (double)v)), mean = 0.2 * (double)v + common + 0.2 * rng_normal(rng);
            numerators[v * SIM_UNITS + u] = words * mean + sqrt(words) * rng_normal(rng);
            denominators[v * SIM_UNITS + u] = words;
        }
    }
    for (size_t v = 0; v < SIM_TAGS; v++) /* the other words */
        for (size_t u = 0; u < SIM_UNITS; u++) {
            double n = 0, d = 0;
            for (size_t k = 0; k < SIM_TAGS; k++)
                if (k != v) {
                    n += numerators[k * SIM_UNITS + u];
                    d += denominators[k * SIM_UNITS + u];
                }
            numerators[(SIM_TAGS + v) * SIM_UNITS + u] = n;
            denominators[(SIM_TAGS + v) * SIM_UNITS + u] = d;
        }
}

/* Floors of a share of words differ from it by at most one word of ten or more; the truth uses the shares. */
static double truth_of(size_t v)
{
    double others = 0, shares = 0;
    for (size_t k = 0; k < SIM_TAGS; k++)
        if (k != v) {
            others += (0.1 + 0.05 * (double)k) * 0.2 * (double)k;
            shares += 0.1 + 0.05 * (double)k;
        }
    return 0.2 * (double)v - others / shares;
}

static void test_coverage(void)
{
    static double numerators[2 * SIM_TAGS * SIM_UNITS], denominators[2 * SIM_TAGS * SIM_UNITS];
    size_t of[2 * SIM_TAGS], covered[SIM_TAGS] = {0}, all_pointwise = 0, all_simultaneous = 0, all_points = 0;
    StatisticsContrast contrasts[SIM_TAGS];
    StatisticsInterval out[SIM_TAGS];
    Rng rng;
    Error e = {""};
    rng_seed(&rng, 7, 0);
    for (size_t i = 0; i < 2 * SIM_TAGS; i++)
        of[i] = i;
    for (size_t v = 0; v < SIM_TAGS; v++)
        contrasts[v] = (StatisticsContrast){.n_terms = 2, .terms = {{v, 1}, {SIM_TAGS + v, -1}}};
    for (size_t run = 0; run < SIM_RUNS; run++) {
        simulate(&rng, numerators, denominators);
        StatisticsBootstrap in = {.n_units = SIM_UNITS,
                                  .n_ratios = 2 * SIM_TAGS,
                                  .n_denominators = 2 * SIM_TAGS,
                                  .n_contrasts = SIM_TAGS,
                                  .n_resamples = SIM_RESAMPLES,
                                  .seed = run,
                                  .numerators = numerators,
                                  .denominators = denominators,
                                  .denominator_of = of,
                                  .contrasts = contrasts};
        CHECK(statistics_bootstrap(&in, out, &e) == 0);
        bool pointwise = true, simultaneous = true;
        for (size_t v = 0; v < SIM_TAGS; v++) {
            double t = truth_of(v);
            bool inside = out[v].lo <= t && t <= out[v].hi;
            covered[v] += inside;
            all_points += inside;
            pointwise = pointwise && inside;
            simultaneous = simultaneous && out[v].lo_simultaneous <= t && t <= out[v].hi_simultaneous;
        }
        all_pointwise += pointwise;
        all_simultaneous += simultaneous;
    }
    /* A percentile interval from n = 60 units is a normal one with the variance's n instead of n - 1: it covers P(|t59| < 1.96
     * sqrt(59/60)) = 94.2 %, and 500 resamples cost its quantiles up to half a point: 93.5 to 95 %. Counted in 400 runs with a
     * standard deviation of sqrt(.05 * .95 / 400) = 1.1 points; four of them to either side are allowed. The max-t's
     * constant is near 2.5 for five, where t59's tails are a third heavier than the normal's: 92.5 to 95 %. */
    for (size_t v = 0; v < SIM_TAGS; v++) {
        double share = (double)covered[v] / SIM_RUNS;
        CHECK_MSG(share >= 0.935 - 0.044 && share <= 0.95 + 0.044, "tag %zu: pointwise intervals cover %.3f", v, share);
    }
    double together = (double)all_simultaneous / SIM_RUNS, apart = (double)all_pointwise / SIM_RUNS;
    CHECK_MSG(together >= 0.925 - 0.044 && together <= 0.95 + 0.044, "max-t intervals cover all at once in %.3f", together);
    /* Five pointwise intervals together miss far more often (independent ones would hold in 0.95^5 = 77 %): the max-t is needed. */
    CHECK_MSG(apart <= together - 0.05, "pointwise intervals hold together in %.3f, max-t ones in %.3f", apart, together);
    printf("pointwise %.3f, all pointwise %.3f, max-t %.3f\n", (double)all_points / SIM_RUNS / SIM_TAGS, apart, together);
}

/* Ratios that share a numerator by numerator_of: the same as with the numerator written twice. */
static void test_shared_numerators(void)
{
    enum { UNITS = 30 };
    double rows[4 * UNITS], denominators[2 * UNITS];
    const size_t of[4] = {0, 1, 0, 1}, below[4] = {0, 0, 1, 1};
    StatisticsContrast contrasts[2] = {{.n_terms = 2, .terms = {{1, 1}, {0, -1}}},
                                       {.n_terms = 2, .family = 1, .terms = {{3, 1}, {2, -1}}}};
    StatisticsInterval shared[2], twice[2];
    Rng rng;
    Error e = {""};
    rng_seed(&rng, 1, 2);
    for (size_t i = 0; i < 2 * UNITS; i++) {
        denominators[i] = (double)(1 + rng_below(&rng, 50));
        rows[i] = rows[2 * UNITS + i] = rng_normal(&rng) * 10;
    }
    StatisticsBootstrap in = {.n_units = UNITS,
                              .n_ratios = 4,
                              .n_denominators = 2,
                              .n_contrasts = 2,
                              .n_resamples = 300,
                              .numerators = rows,
                              .denominators = denominators,
                              .denominator_of = below,
                              .contrasts = contrasts};
    CHECK(statistics_bootstrap(&in, twice, &e) == 0);
    in.numerator_of = of;
    in.n_numerators = 2;
    CHECK(statistics_bootstrap(&in, shared, &e) == 0);
    CHECK(memcmp(shared, twice, sizeof shared) == 0);
    in.n_numerators = 1;
    CHECK(statistics_bootstrap(&in, shared, &e) == STATUS_FAILED);
}

int main(void)
{
    if (!mkdtemp(temp))
        return 1;
    RUN(test_by_hand);
    RUN(test_names);
    RUN(test_damage);
    RUN(test_scores);
    RUN(test_shared_numerators);
    RUN(test_coverage);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", temp);
    if (system(command) != 0)
        printf("left behind: %s\n", temp);
    return test_finish();
}
