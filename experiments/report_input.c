/* report_input.c: what a report says, read from ppl.json, run.json and pos.json. */
#include "experiments/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "engine/base/file.h"
#include "experiments/diff_view.h"
#include "experiments/result_file.h"

/* What a file may lack: "" and NaN stand for it. */
static const char *text_of(Report *p, const ResultNode *node, const char *field)
{
    const char *value = NULL;
    if (result_string(node, field, &value, NULL) != STATUS_OK)
        return "";
    const char *copy = arena_strndup(&p->arena, value, strlen(value));
    return copy ? copy : "";
}

static double number_of(const ResultNode *node, const char *field)
{
    double value = NAN;
    return result_number(node, field, &value, NULL) == STATUS_OK ? value : NAN;
}

static int read_ppl(Report *p, ReportResult *r, Error *e)
{
    ResultFile file;
    ResultNode protocol, node;
    int status = result_file_open(r->r.file, "strata.ppl/1", &file, e);
    if (!status)
        status = result_child(&file.root, "protocol", &protocol, e);
    if (!status) {
        r->n_samples = number_of(&file.root, "n_samples");
        r->n_unscored = number_of(&file.root, "n_unscored");
        r->split = text_of(p, &protocol, "split");
        r->rope = text_of(p, &protocol, "rope");
        r->n_rows = number_of(&protocol, "n_rows");
        r->n_windows = number_of(&protocol, "n_windows");
        r->n_units = number_of(&protocol, "n_units");
        r->weights_sha256 = "";
        r->n_words = r->n_bytes = NAN;
        if (result_child(&protocol, "denominators", &node, NULL) == STATUS_OK) {
            r->n_words = number_of(&node, "words");
            r->n_bytes = number_of(&node, "bytes");
        }
        if (result_child(&protocol, "hashes", &node, NULL) == STATUS_OK)
            r->weights_sha256 = text_of(p, &node, "weights");
        status = result_child(&file.root, "baseline", &node, e);
    }
    if (!status) {
        r->word_ppl = number_of(&node, "word_ppl");
        r->bits_per_byte = number_of(&node, "bits_per_byte");
        r->top5_accuracy = number_of(&node, "top5_accuracy");
    }
    result_file_close(&file);
    return status;
}

static int read_run(Report *p, ReportResult *r, Error *e)
{
    ResultFile file;
    char *path = file_join(r->dir, "run.json");
    r->version = r->commit = r->device = r->processor = r->threads = r->blas_core = r->finished = "";
    int status = path ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: no memory", r->dir);
    if (status || !file_exists(path))
        goto done;
    status = result_file_open(path, NULL, &file, e);
    if (status)
        goto done;
    r->version = text_of(p, &file.root, "version");
    r->commit = text_of(p, &file.root, "commit");
    r->device = text_of(p, &file.root, "device");
    r->processor = text_of(p, &file.root, "processor");
    r->blas_core = text_of(p, &file.root, "blas_core");
    r->finished = text_of(p, &file.root, "finished");
    char threads[32];
    snprintf(threads, sizeof threads, "%.0f", number_of(&file.root, "threads"));
    r->threads = isnan(number_of(&file.root, "threads")) ? "" : arena_strndup(&p->arena, threads, strlen(threads));
    if (!r->threads)
        r->threads = "";
    result_file_close(&file);
done:
    free(path);
    return status;
}

/* ---- parts of speech ---- */

static int read_change(const ResultNode *node, const char *name, CompareChange *out, Error *e)
{
    char field[64];
    double pair[2] = {NAN, NAN};
    int status = result_number(node, name, &out->delta, e);
    snprintf(field, sizeof field, "%s_ci95", name);
    if (!status && result_has(node, field))
        status = result_numbers(node, field, pair, 2, e);
    out->lo = pair[0];
    out->hi = pair[1];
    out->lo_simultaneous = out->hi_simultaneous = pair[0] = pair[1] = NAN;
    snprintf(field, sizeof field, "%s_maxt95", name);
    if (!status && result_has(node, field))
        status = result_numbers(node, field, pair, 2, e);
    out->lo_simultaneous = pair[0];
    out->hi_simultaneous = pair[1];
    return status;
}

static int read_tag(Report *p, ReportResult *r, const ResultNode *value, const ResultNode *f1, Error *e)
{
    ResultNode list, baseline, item = {0};
    ReportTag *t = &r->tags[r->n_tags];
    if (r->n_tags == REPORT_MAX_TAGS)
        return error_set(e, STATUS_FAILED, "%s: more than %d tags", value->path, REPORT_MAX_TAGS);
    t->name = text_of(p, value, "value");
    t->is_ranked = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(value->json, "is_ranked"));
    t->f1 = f1->json ? number_of(f1, t->name) : NAN;
    int status = result_number(value, "n_words", &t->n_words, e);
    if (!status)
        status = result_number(value, "n_units", &t->n_units, e);
    if (!status)
        status = result_child(value, "baseline", &baseline, e);
    if (!status)
        status = result_number(&baseline, "word_nll", &t->word_nll, e);
    if (!status)
        status = result_number(&baseline, "word_accuracy", &t->word_accuracy, e);
    if (!status)
        status = result_child(value, "orders", &list, e);
    t->orders = arena_array(&p->arena, r->r.n_orders, sizeof *t->orders);
    t->contrast = arena_array(&p->arena, r->r.n_orders, sizeof *t->contrast);
    if (!t->orders || !t->contrast)
        return error_set(e, STATUS_FAILED, "%s: no memory", value->path);
    for (size_t i = 0; i < r->r.n_orders; i++)
        t->orders[i] = t->contrast[i] = (CompareChange){NAN, NAN, NAN, NAN, NAN};
    while (!status && result_each(&list, &item)) {
        int64_t row = 0;
        status = result_integer(&item, "ledger_index", &row, e);
        for (size_t i = 0; !status && i < r->r.n_orders; i++)
            if ((int64_t)r->r.orders[i].ledger_index == row) {
                status = read_change(&item, "delta_word_nll", &t->orders[i], e);
                if (!status)
                    status = read_change(&item, "word_contrast", &t->contrast[i], e);
            }
    }
    r->has_ranked = r->has_ranked || t->is_ranked;
    r->n_tags++;
    return status;
}

static int read_tags(Report *p, ReportResult *r, const ResultFile *file, Error *e)
{
    ResultNode tags, f1 = {0}, counts, groups, group = {0}, values, value = {0};
    const char *by = NULL;
    r->tagger = r->tagger_corpus = "";
    r->tagger_accuracy = r->n_counted = r->n_body_words = NAN;
    if (result_child(&file->root, "tags", &tags, NULL) == STATUS_OK) {
        r->tagger = text_of(p, &tags, "source");
        r->tagger_corpus = text_of(p, &tags, "measured_on");
        r->tagger_accuracy = number_of(&tags, "accuracy");
        if (result_child(&tags, "f1", &f1, NULL) != STATUS_OK)
            f1 = (ResultNode){0};
    }
    if (result_child(&file->root, "counts", &counts, NULL) == STATUS_OK) {
        r->n_counted = number_of(&counts, "counted");
        r->n_body_words = number_of(&counts, "body_words");
    }
    r->tags = arena_array(&p->arena, REPORT_MAX_TAGS, sizeof *r->tags);
    int status =
        r->tags ? result_child(&file->root, "groups", &groups, e) : error_set(e, STATUS_FAILED, "%s: no memory", r->dir);
    while (!status && result_each(&groups, &group)) {
        status = result_string(&group, "by", &by, e);
        if (status || strcmp(by, "upos") != 0)
            continue;
        status = result_child(&group, "values", &values, e);
        while (!status && result_each(&values, &value))
            status = read_tag(p, r, &value, &f1, e);
    }
    r->has_tags = !status && r->n_tags > 0;
    return status;
}

static int read_pos(Report *p, ReportResult *r, Error *e)
{
    ResultFile file;
    char *path = file_join(r->dir, "pos.json");
    int status = path ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: no memory", r->dir);
    if (!status && file_exists(path)) {
        status = result_file_open(path, "strata.pos.1", &file, e);
        if (!status)
            status = read_tags(p, r, &file, e);
        result_file_close(&file);
    }
    free(path);
    return status;
}

/* "results/removal/gpt2_wiki-text-2_n1000" -> "removal_gpt2_wiki-text-2_n1000_". */
static int name_prefix(Report *p, ReportResult *r, Error *e)
{
    char text[512];
    const char *base = file_basename(r->dir), *end = base > r->dir ? base - 1 : r->dir, *begin = end;
    while (begin > r->dir && begin[-1] != '/')
        begin--;
    snprintf(text, sizeof text, "%.*s%s%.200s_", (int)(end - begin < 100 ? end - begin : 100), begin, end > begin ? "_" : "",
             base);
    for (char *s = text; *s; s++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-", *s))
            *s = '_';
    r->prefix = p->options->n_dirs > 1 ? arena_strndup(&p->arena, text, strlen(text)) : "";
    for (ReportResult *other = p->results; r->prefix && other < r; other++)
        if (*r->prefix && strcmp(other->prefix, r->prefix) == 0)
            return error_set(e, STATUS_USAGE, "%s: the same folder as %s", r->dir, other->dir);
    return r->prefix ? STATUS_OK : error_set(e, STATUS_FAILED, "report: no memory");
}

int report_read(Report *p, Error *e)
{
    const StrataReportOptions *o = p->options;
    if (!o->n_dirs)
        return error_set(e, STATUS_USAGE, "report: expected a result folder, found none");
    if (o->n_dirs > REPORT_MAX)
        return error_set(e, STATUS_USAGE, "report: expected at most %d folders, found %zu", REPORT_MAX, o->n_dirs);
    int status = STATUS_OK;
    for (size_t i = 0; !status && i < o->n_dirs; i++) {
        if (diff_view_is_one(o->dirs[i])) /* report_diff.c's */
            continue;
        ReportResult *r = &p->results[p->n];
        status = compare_result_read(o->dirs[i], &p->arena, &r->r, e);
        r->dir = r->r.dir;
        if (!status)
            status = name_prefix(p, r, e);
        if (!status)
            status = read_ppl(p, r, e);
        for (size_t k = 0; !status && k < r->r.n_orders; k++)
            r->has_intervals = r->has_intervals || !isnan(r->r.orders[k].nll_change.lo);
        if (!status)
            status = read_run(p, r, e);
        if (!status)
            status = read_pos(p, r, e);
        p->n++;
    }
    return status;
}
