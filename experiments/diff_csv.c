/* diff_csv.c: diff.csv, the ranked cells of every category and position class with their statistics, and curves.csv, the layer curves. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/diff_write.h"
#include "experiments/table.h"

static int write_table(const Diff *s, const char *name, Table *t, Error *e)
{
    int status = table_save_csv(t, e, "%s/%s", s->dir, name);
    table_free(t);
    return status;
}

static void put_cell(const Diff *s, Table *t, const DiffCategory *c, int class, const DiffResult *r, size_t cell,
                     const char *by)
{
    double sigma = (double)s->sigma.sigma[cell];
    table_text(t, c->name);
    table_text(t, diff_class_names[class]);
    table_text(t, by);
    table_integer(t, (long long)(cell / s->d));
    table_integer(t, (long long)(cell % s->d));
    table_number(t, r->mean[cell], -1);
    table_number(t, r->median[cell], -1);
    table_number(t, r->sd[cell], -1);
    table_number(t, sigma, -1);
    table_number(t, sigma > 0 ? r->mean[cell] / sigma : NAN, -1);
    table_number(t, sigma > 0 ? (double)r->control[cell] / sigma : NAN, -1);
    table_number(t, (double)r->ratio[cell], -1);
    table_number(t, (double)r->upper[cell], -1);
    table_number(t, r->p[cell], -1);
    table_number(t, (double)r->half[0][cell], -1);
    table_number(t, (double)r->half[1][cell], -1);
    table_text(t, diff_is_claim(s, r, cell) ? "yes" : "no");
}

static int write_cells(const Diff *s, Error *e)
{
    static const char *const headers[] = {
        "category",   "position",           "ranked_by", "layer", "dim", "mean_abs",     "median_abs",   "sd_abs", "sigma",
        "normalised", "control_normalised", "ratio",     "upper", "p",   "half_ratio_a", "half_ratio_b", "claim"};
    Table t;
    uint32_t best[DIFF_BEST];
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t c = 0; c < s->categories.n; c++) {
        for (int class = 0; class < DIFF_N_CLASSES; class ++) {
            const DiffResult *r = &s->outcomes[c].at[class];
            for (int plain = 0; r->n && plain < 2; plain++) {
                size_t n = diff_rank_cells(s, r, plain, false, DIFF_BEST, best);
                for (size_t i = 0; i < n; i++)
                    put_cell(s, &t, &s->categories.list[c], class, r, best[i], plain ? "plain" : "ratio");
            }
        }
    }
    return write_table(s, "diff.csv", &t, e);
}

static int write_curves(const Diff *s, Error *e)
{
    static const char *const headers[] = {"category", "position", "layer", "curve", "pairs",
                                          "control",  "shuffled", "ratio", "lo",    "hi"};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t c = 0; c < s->categories.n; c++) {
        for (int class = 0; class < DIFF_N_CLASSES; class ++) {
            const DiffResult *r = &s->outcomes[c].at[class];
            for (size_t i = 0; r->n && i < s->n_points * DIFF_N_CURVES; i++) {
                const DiffCurvePoint *x = &r->curves[i];
                size_t point = i / DIFF_N_CURVES;
                table_text(&t, s->categories.list[c].name);
                table_text(&t, diff_class_names[class]);
                if (point + 1 < s->n_points)
                    table_integer(&t, (long long)point);
                else
                    table_text(&t, "final_norm");
                table_text(&t, diff_curve_names[i % DIFF_N_CURVES]);
                bool is_cosine =
                    i % DIFF_N_CURVES == DIFF_CURVE_COSINE; /* kept as 1 - cosine, told as cosine like in diff.json */
                table_number(&t, is_cosine ? 1 - x->pairs : x->pairs, -1);
                table_number(&t, is_cosine ? 1 - x->control : x->control, -1);
                table_number(&t, is_cosine ? 1 - x->shuffled : x->shuffled, -1);
                table_number(&t, x->cell.ratio, -1);
                table_number(&t, x->cell.lo, -1);
                table_number(&t, x->cell.hi, -1);
            }
        }
    }
    return write_table(s, "curves.csv", &t, e);
}

int diff_write_csv(const Diff *s, Error *e)
{
    int status = write_cells(s, e);
    return status ? status : write_curves(s, e);
}
