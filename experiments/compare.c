/* compare.c: `strata compare`, from files to files, and its table. */
#include "experiments/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/compare_diff.h"
#include "experiments/table.h"

static const char *metric_name(const Compare *c)
{
    return c->same_tokens ? "nats/token" : "bits/byte";
}

/* The order with the largest (sign 1) or smallest (sign -1) headline change; NULL when none is known. */
static const CompareOrder *extreme(const Compare *c, const CompareResult *r, double sign)
{
    const CompareOrder *best = NULL;
    for (size_t i = 0; i < r->n_orders; i++) {
        double x = sign * compare_headline(c, &r->orders[i])->delta;
        if (!isnan(x) && (!best || x > sign * compare_headline(c, best)->delta))
            best = &r->orders[i];
    }
    return best;
}

static void add_order(const Compare *c, const CompareOrder *o, Table *t)
{
    table_text(t, o ? o->name : "");
    table_number(t, o ? compare_headline(c, o)->delta : NAN, 4);
}

static int print_models(const Compare *c, FILE *out, Error *e)
{
    static const char *const headers[] = {"model",          "layers", "share",           "tokens", "baseline",
                                          "largest change", "",       "smallest change", ""};
    Table t;
    StrBuf text = {0};
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < c->n; i++) {
        const CompareResult *r = &c->results[i];
        table_text(&t, r->label);
        table_integer(&t, r->n_layers);
        table_number(&t, r->share, 3);
        table_integer(&t, c->has_bytes ? (long long)c->bytes.n_tokens[i] : (long long)r->n_tokens);
        table_number(&t, c->same_tokens ? r->intact.nll : r->bits, 4);
        add_order(c, extreme(c, r, 1), &t);
        add_order(c, extreme(c, r, -1), &t);
    }
    int status = table_write_text(&t, &text, e);
    if (!status)
        fprintf(out, "%s\n", text.data);
    strbuf_free(&text);
    table_free(&t);
    return status;
}

static int print_pairs(const Compare *c, FILE *out, Error *e)
{
    static const char *const headers[] = {"importance of layers by depth", "", "Spearman", "95 % interval", "Kendall", "bins"};
    Table t;
    StrBuf text = {0};
    char interval[64];
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < c->n_pairs; i++) {
        const ComparePair *p = &c->pairs[i];
        table_text(&t, c->results[p->a].label);
        table_text(&t, c->results[p->b].label);
        table_number(&t, p->spearman, 3);
        snprintf(interval, sizeof interval, "[%+.3f, %+.3f]", p->lo, p->hi);
        table_text(&t, isnan(p->lo) ? "" : interval);
        table_number(&t, p->kendall, 3);
        table_integer(&t, p->n_bins);
    }
    int status = c->n_pairs ? table_write_text(&t, &text, e) : STATUS_OK;
    if (!status && c->n_pairs)
        fprintf(out, "%s\n", text.data);
    strbuf_free(&text);
    table_free(&t);
    return status;
}

static int print(const Compare *c, Error *e)
{
    FILE *out = c->options->common.out;
    if (!out)
        return STATUS_OK;
    if (c->options->common.json) {
        StrBuf text = {0};
        int status = compare_json(c, &text, e);
        if (!status)
            fwrite(text.data, 1, text.len, out);
        strbuf_free(&text);
        return status;
    }
    fprintf(out, "%s, %zu results, change of loss in %s", c->experiment, c->n, metric_name(c));
    if (c->has_bytes && !c->same_tokens)
        fprintf(out, " on the %zu bytes that all of them predicted (of %zu), %zu words", c->bytes.n_bytes, c->bytes.n_any_bytes,
                c->bytes.n_words);
    fprintf(out, "\n\n");
    int status = print_models(c, out, e);
    if (!status)
        status = print_pairs(c, out, e);
    if (c->notes.len && !c->notes.failed)
        fprintf(out, "%s\n", c->notes.data);
    const char *dir = c->options->output_dir ? c->options->output_dir : "figures/comparisons";
    fprintf(out, "written: %s/compare.json, compare.csv, figures\nnext:    strata report", dir);
    StrBuf dirs = {0};
    for (size_t i = 0; i < c->n; i++) {
        strbuf_putc(&dirs, ' ');
        strbuf_shell_word(&dirs, c->results[i].dir);
    }
    fprintf(out, "%s\n", dirs.failed ? " DIR ..." : dirs.data);
    strbuf_free(&dirs);
    return status;
}

int strata_compare(const StrataCompareOptions *options, StrataError *e)
{
    if (compare_diff_is_meant(options))
        return compare_diff(options, e);
    Compare *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(e, STATUS_FAILED, "compare: no memory");
    c->options = options;
    int status = compare_open(c, e);
    if (!status)
        status = compare_compute(c, e);
    if (!status)
        status = compare_read_tags(c, e);
    if (!status)
        status = compare_write(c, e);
    if (!status)
        status = compare_figures(c, e);
    if (!status)
        status = print(c, e);
    compare_free(c);
    free(c);
    return status;
}
