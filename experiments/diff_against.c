/* diff_against.c: the same pairs in two checkpoints: against.json. Both studies' layer curves of ratios to control are laid over
 * relative depth (0 the embedding, 1 after the last step; between points linearly), and subtracted: the second model's minus the
 * first's. Intervals take the two as independent, with Welch's degrees of freedom: the pairs are the same, so they are rather too wide. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/diff_against.h"
#include "experiments/result_file.h"

enum { DEPTHS = 21 };

typedef struct Curve {
    double ratio[DEPTHS], se[DEPTHS], df;
    bool there;
} Curve;

/* Values of [n] points at DEPTHS relative depths. */
static void lay_over_depth(const double *x, size_t n, double out[DEPTHS])
{
    for (size_t i = 0; i < DEPTHS; i++) {
        double at = (double)i / (DEPTHS - 1) * (double)(n - 1);
        size_t k = at >= (double)(n - 1) ? n - 1 : (size_t)at;
        double part = at - (double)k;
        out[i] = part > 0 ? x[k] * (1 - part) + x[k + 1] * part : x[k];
    }
}

static int read_curve(const ResultNode *position, const char *name, size_t n_points, Curve *out, Error *e)
{
    ResultNode curves, curve;
    double *values = malloc(2 * n_points * sizeof *values);
    if (!values)
        return error_set(e, STATUS_FAILED, "diff: out of memory");
    int status = result_child(position, "curves", &curves, e);
    out->there = !status && result_has(&curves, name);
    if (!status && out->there) {
        status = result_child(&curves, name, &curve, e);
        out->there = !status && result_has(&curve, "ratio");
    }
    if (!status && out->there)
        status = result_numbers(&curve, "ratio", values, n_points, e);
    if (!status && out->there)
        status = result_numbers(&curve, "se", values + n_points, n_points, e);
    if (!status && out->there)
        status = result_number(position, "df", &out->df, e);
    if (!status && out->there) {
        lay_over_depth(values, n_points, out->ratio);
        lay_over_depth(values + n_points, n_points, out->se);
    }
    free(values);
    return status;
}

/* The element of an array with this name; false where there is none. */
static bool find_named(const ResultNode *array, const char *name, ResultNode *out)
{
    ResultNode item = {0};
    Error ignored;
    const char *own;
    while (result_each(array, &item)) {
        if (result_string(&item, "name", &own, &ignored) == STATUS_OK && strcmp(own, name) == 0) {
            *out = item;
            return true;
        }
    }
    return false;
}

static void put_numbers(StrBuf *out, const char *name, const double *x)
{
    strbuf_json_field(out, name);
    strbuf_puts(out, "[");
    for (size_t i = 0; i < DEPTHS; i++) {
        strbuf_puts(out, i ? ", " : "");
        strbuf_json_number(out, x[i]);
    }
    strbuf_puts(out, "]");
}

static void put_difference(StrBuf *out, const Curve *a, const Curve *b, DiffStatsContrast last[1])
{
    double difference[DEPTHS], lo[DEPTHS], hi[DEPTHS];
    for (size_t i = 0; i < DEPTHS; i++) {
        DiffStatsTerm terms[2] = {{.weight = 1, .ratio = b->ratio[i], .se = b->se[i], .df = b->df},
                                  {.weight = -1, .ratio = a->ratio[i], .se = a->se[i], .df = a->df}};
        *last = diff_stats_contrast(terms, 2);
        difference[i] = last->difference;
        lo[i] = last->lo;
        hi[i] = last->hi;
    }
    put_numbers(out, "a", a->ratio);
    put_numbers(out, "b", b->ratio);
    put_numbers(out, "difference", difference);
    put_numbers(out, "lo", lo);
    put_numbers(out, "hi", hi);
}

typedef struct Side {
    ResultFile file;
    const char *model;
    int64_t n_steps;
    ResultNode categories;
} Side;

static int open_side(const char *dir, Side *out, Error *e)
{
    char *path = file_join(dir, "diff.json");
    int status =
        path ? result_file_open(path, "strata.diff/1", &out->file, e) : error_set(e, STATUS_FAILED, "diff: out of memory");
    free(path);
    if (!status)
        status = result_string(&out->file.root, "model", &out->model, e);
    if (!status)
        status = result_integer(&out->file.root, "n_layers", &out->n_steps, e);
    if (!status && (out->n_steps < 0 || out->n_steps > 100000))
        status = error_set(e, STATUS_FAILED, "%s/diff.json: n_layers: %lld", dir, (long long)out->n_steps);
    if (!status)
        status = result_child(&out->file.root, "categories", &out->categories, e);
    return status;
}

/* One position class of a category in both. */
static int put_position(const Side *a, const Side *b, const ResultNode *pa, const ResultNode *pb, const char *category,
                        StrBuf *json, FILE *out, size_t *n_told, Error *e)
{
    static const char *const names[] = {"normalised", "norm", "relative_norm", "cosine"};
    const char *position;
    int status = result_string(pa, "name", &position, e);
    size_t n_put = 0;
    if (!status)
        strbuf_printf(json, "{\"name\": \"%s\", \"curves\": {", position);
    for (size_t k = 0; !status && k < sizeof names / sizeof *names; k++) {
        Curve x = {0}, y = {0};
        DiffStatsContrast last;
        status = read_curve(pa, names[k], (size_t)a->n_steps + 1, &x, e);
        if (!status)
            status = read_curve(pb, names[k], (size_t)b->n_steps + 1, &y, e);
        if (status || !x.there || !y.there)
            continue;
        strbuf_printf(json, "%s\"%s\": {\"depths\": %d", n_put++ ? ", " : "", names[k], DEPTHS);
        put_difference(json, &x, &y, &last);
        strbuf_puts(json, "}");
        if (!out || k > 0 || !isfinite(last.difference))
            continue;
        ++*n_told;
        if (isfinite(last.lo) && isfinite(last.hi))
            fprintf(out, "  %-16s %-7s %+.3f [%+.3f, %+.3f]: %s\n", category, position, last.difference, last.lo, last.hi,
                    last.hi < 0   ? "the second changes less"
                    : last.lo > 0 ? "the second changes more"
                                  : "no difference shown");
        else
            fprintf(out, "  %-16s %-7s %+.3f: no test\n", category, position, last.difference);
    }
    strbuf_puts(json, "}}");
    return status;
}

static int put_category(const Side *a, const Side *b, const ResultNode *ca, const ResultNode *cb, StrBuf *json, FILE *out,
                        size_t *n_told, Error *e)
{
    const char *name, *position;
    ResultNode of_a, of_b, item = {0}, other;
    int status = result_string(ca, "name", &name, e);
    if (!status)
        status = result_child(ca, "positions", &of_a, e);
    if (!status)
        status = result_child(cb, "positions", &of_b, e);
    if (status)
        return status;
    size_t n = 0;
    strbuf_puts(json, "{\"name\": ");
    strbuf_json_string(json, name, strlen(name));
    strbuf_puts(json, ", \"positions\": [");
    while (!status && result_each(&of_a, &item)) {
        status = result_string(&item, "name", &position, e);
        if (status || !find_named(&of_b, position, &other))
            continue;
        strbuf_puts(json, n++ ? ",\n   " : "\n   ");
        status = put_position(a, b, &item, &other, name, json, out, n_told, e);
    }
    strbuf_puts(json, "]}");
    return status;
}

int diff_against_write(const char *dir, const char *second_dir, FILE *out, Error *e)
{
    Side a = {0}, b = {0};
    StrBuf json = {0};
    ResultNode item = {0}, other;
    size_t n = 0, n_told = 0;
    int status = open_side(dir, &a, e);
    if (!status)
        status = open_side(second_dir, &b, e);
    if (!status) {
        strbuf_puts(&json, "{\"schema\": \"strata.diff_against/1\"");
        strbuf_json_field_text(&json, "a", a.model);
        strbuf_json_field_text(&json, "b", b.model);
        strbuf_puts(&json, ",\n \"categories\": [");
        if (out)
            fprintf(out, "\n%s minus %s, ratios to control after the last step:\n", b.model, a.model);
    }
    while (!status && result_each(&a.categories, &item)) {
        const char *name;
        status = result_string(&item, "name", &name, e);
        if (status || !find_named(&b.categories, name, &other))
            continue;
        strbuf_puts(&json, n++ ? ",\n  " : "\n  ");
        status = put_category(&a, &b, &item, &other, &json, out, &n_told, e);
    }
    strbuf_puts(&json, "]}\n");
    if (!status && out && !n_told)
        fprintf(out, "  not told: no category has a matched control in both\n");
    if (!status)
        status = file_write_text(&json, e, "%s/against.json", dir);
    if (!status && out)
        fprintf(out, "\nwritten: %s/against.json\n", dir);
    strbuf_free(&json);
    result_file_close(&a.file);
    result_file_close(&b.file);
    return status;
}
