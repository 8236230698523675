/* diff_json.c: diff.json, schema "strata.diff/1". Layer points count from 0, the embedding, to L, the stream after the last step; what
 * stands after the final norm is under "final_norm". NaN and infinity are null. Means are in the model's own units, but `normalised`,
 * `control` and `mean` of ranked cells, which are in sigma. A control that lies farther than its pair is scaled down (diff_control.c): ratio
 * is against that, ratio_least against the control scaled up where it lies nearer; lo and hi span both. Times live in run.json. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/diff_write.h"

enum { LISTED = 50, N_CURVE_FIELDS = 10 };

static void put_numbers(StrBuf *out, const char *name, const double *x, size_t n, size_t stride)
{
    strbuf_json_field(out, name);
    strbuf_puts(out, "[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_puts(out, ", ");
        strbuf_json_number(out, x[i * stride]);
    }
    strbuf_puts(out, "]");
}

static void put_count(StrBuf *out, const char *name, size_t n)
{
    strbuf_json_field(out, name);
    strbuf_printf(out, "%zu", n);
}

/* One curve over the stream's points; cosine is told as cosine, its ratio is that of 1 - cosine. */
static void put_curve(const Diff *s, const DiffResult *r, DiffCurve k, StrBuf *out)
{
    size_t n = s->n_points - 1;
    double *x = malloc(N_CURVE_FIELDS * s->n_points * sizeof *x);
    if (!x) {
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < s->n_points; i++) {
        const DiffCurvePoint *c = &r->curves[i * DIFF_N_CURVES + k];
        const double values[N_CURVE_FIELDS] = {c->pairs,   c->cell.mean, c->control, c->shuffled,    c->cell.ratio,
                                               c->cell.lo, c->cell.hi,   c->cell.se, c->least.ratio, c->least.se};
        for (size_t m = 0; m < N_CURVE_FIELDS; m++)
            x[m * s->n_points + i] = k == DIFF_CURVE_COSINE && m < 4 ? 1 - values[m] : values[m];
    }
    static const char *const names[N_CURVE_FIELDS] = {"pairs", "pairs_with_control", "control", "shuffled", "ratio", "lo", "hi",
                                                      "se",    "ratio_least",        "se_least"};
    strbuf_printf(out, "\"%s\": {\"n\": %zu", diff_curve_names[k], r->n);
    put_count(out, "n_control", r->n_control);
    for (size_t m = 0; m < (s->controls ? N_CURVE_FIELDS : 1); m++)
        put_numbers(out, names[m], x + m * s->n_points, n, 1);
    strbuf_json_field(out, "final_norm");
    strbuf_puts(out, "{\"pairs\": ");
    strbuf_json_number(out, x[n]);
    for (size_t m = 1; s->controls && m < N_CURVE_FIELDS; m++)
        strbuf_json_field_number(out, names[m], x[m * s->n_points + n]);
    strbuf_puts(out, "}}");
    free(x);
}

static void put_cell(const Diff *s, const DiffResult *r, size_t cell, bool plain, StrBuf *out)
{
    double sigma = (double)s->sigma.sigma[cell];
    strbuf_printf(out, "{\"layer\": %zu, \"dim\": %zu", cell / s->d, cell % s->d);
    strbuf_json_field_number(out, "mean_abs", r->mean[cell]);
    strbuf_json_field_number(out, "median_abs", r->median[cell]);
    strbuf_json_field_number(out, "sd_abs", r->sd[cell]);
    strbuf_json_field_number(out, "mean", sigma > 0 ? r->mean[cell] / sigma : NAN);
    if (!plain && s->controls) {
        strbuf_json_field_number(out, "control", sigma > 0 ? (double)r->control[cell] / sigma : NAN);
        strbuf_json_field_number(out, "ratio", (double)r->ratio[cell]);
        strbuf_json_field_number(out, "upper", (double)r->upper[cell]);
        strbuf_json_field_number(out, "p", r->p[cell]);
        strbuf_json_field(out, "half_ratio");
        strbuf_puts(out, "[");
        strbuf_json_number(out, (double)r->half[0][cell]);
        strbuf_puts(out, ", ");
        strbuf_json_number(out, (double)r->half[1][cell]);
        strbuf_printf(out, "], \"claim\": %s", diff_is_claim(s, r, cell) ? "true" : "false");
    }
    strbuf_puts(out, "}");
}

static void put_ranked(const Diff *s, const DiffResult *r, const char *name, bool plain, bool claims, StrBuf *out)
{
    uint32_t best[LISTED];
    size_t n = diff_rank_cells(s, r, plain, claims, LISTED, best);
    strbuf_json_field(out, name);
    strbuf_puts(out, "[");
    for (size_t i = 0; i < n; i++) {
        strbuf_puts(out, i ? ",\n      " : "\n      ");
        put_cell(s, r, best[i], plain, out);
    }
    strbuf_puts(out, "]");
}

static void put_claims_by_layer(const Diff *s, const DiffResult *r, StrBuf *out)
{
    strbuf_json_field(out, "claims_per_layer");
    strbuf_puts(out, "[");
    for (size_t point = 0; point + 1 < s->n_points; point++) {
        size_t n = 0;
        for (size_t j = 0; j < s->d; j++)
            n += diff_is_claim(s, r, point * s->d + j);
        strbuf_printf(out, "%s%zu", point ? ", " : "", n);
    }
    strbuf_puts(out, "]");
}

static void put_rotation(const Diff *s, const DiffResult *r, StrBuf *out)
{
    double counts[2][1 + DIFF_RANDOM_BASES] = {{0}};
    for (size_t point = 1; point + 1 < s->n_points; point++) {
        for (size_t k = 0; k <= DIFF_RANDOM_BASES; k++) {
            counts[0][k] += r->stable[point * (1 + DIFF_RANDOM_BASES) + k];
            counts[1][k] += r->small[point * (1 + DIFF_RANDOM_BASES) + k];
        }
    }
    static const char *const what[] = {"ratio below 0.8", "mean below half a sigma"};
    strbuf_json_field(out, "rotation");
    strbuf_printf(out, "[");
    for (int m = 0; m < 2; m++) {
        DiffStatsRotation x = diff_stats_rotation(counts[m][0], counts[m] + 1, DIFF_RANDOM_BASES);
        strbuf_printf(out, "%s{\"what\": \"%s\", \"n_pairs\": %zu", m ? ", " : "", what[m], r->n_rotated);
        put_count(out, "n", x.n);
        strbuf_json_field_number(out, "count", x.count);
        strbuf_json_field_number(out, "mean", x.mean);
        strbuf_json_field_number(out, "sd", x.sd);
        strbuf_json_field_number(out, "least", x.least);
        strbuf_json_field_number(out, "most", x.most);
        strbuf_json_field_number(out, "p_more", x.p_more);
        strbuf_json_field_number(out, "p_fewer", x.p_fewer);
        put_numbers(out, "count_per_layer", r->stable + (m ? r->small - r->stable : 0), s->n_points - 1, 1 + DIFF_RANDOM_BASES);
        strbuf_puts(out, "}");
    }
    strbuf_puts(out, "]");
}

static void put_tests(const Diff *s, const DiffResult *r, StrBuf *out)
{
    put_count(out, "n_claims", r->n_claims);
    put_claims_by_layer(s, r, out);
    strbuf_json_field(out, "margins");
    strbuf_puts(out, "[");
    for (size_t m = 0; m < DIFF_STATS_MARGINS; m++) {
        strbuf_printf(out, "%s{\"margin\": ", m ? ", " : "");
        strbuf_json_number(out, diff_stats_margins[m]);
        strbuf_printf(out, ", \"n_rejected\": %zu}", r->margin[m]);
    }
    strbuf_puts(out, "]");
    put_numbers(out, "kendall_w", r->kendall, s->n_points - 1, 1);
    put_numbers(out, "kendall_w_control", r->kendall_control, s->n_points - 1, 1);
    strbuf_json_field(out, "crossfit");
    strbuf_printf(out, "{\"n_best\": %d, \"n_chosen\": %zu", DIFF_BEST, r->crossfit.n_chosen);
    strbuf_json_field_number(out, "chosen_ratio", r->crossfit.chosen_ratio);
    strbuf_json_field_number(out, "scored_ratio", r->crossfit.scored_ratio);
    strbuf_json_field_number(out, "n_below", r->crossfit.n_below);
    strbuf_json_field_number(out, "n_bound_below", r->crossfit.n_bound_below);
    strbuf_puts(out, "}");
    if (r->n_rotated)
        put_rotation(s, r, out);
}

static void put_position(const Diff *s, DiffClass class, const DiffResult *r, StrBuf *out)
{
    strbuf_printf(out, "{\"name\": \"%s\", \"n_pairs\": %zu", diff_class_names[class], r->n);
    put_count(out, "n_control", r->n_control);
    strbuf_json_field_text(out, "scope", diff_stats_scope_name(r->design.scope));
    put_count(out, "n_templates", r->design.true_templates);
    put_count(out, "n_word_pairs", r->design.true_words);
    strbuf_json_field_number(out, "df", r->design.df[2]);
    strbuf_json_field_number(out, "median_error_sigma", r->median_bound);
    put_count(out, "n_median_unknown", r->n_median_open);
    strbuf_puts(out, ",\n     \"curves\": {");
    for (int k = 0; k < DIFF_N_CURVES; k++) {
        strbuf_puts(out, k ? ",\n      " : "\n      ");
        put_curve(s, r, (DiffCurve)k, out);
    }
    if (r->lens) {
        strbuf_printf(out, ",\n      \"logit_lens_kl\": {\"n\": %zu", r->n_lens);
        put_numbers(out, "pairs", r->lens, s->n_points - 1, 1);
        put_numbers(out, "control", r->lens_control, s->n_points - 1, 1);
        strbuf_puts(out, "}");
    }
    strbuf_puts(out, "}");
    if (s->controls) {
        put_numbers(out, "shuffled", &r->curves[0].shuffled, s->n_points - 1,
                    sizeof(DiffCurvePoint) * DIFF_N_CURVES / sizeof(double));
        put_tests(s, r, out);
        put_ranked(s, r, "claims", false, true, out);
        put_ranked(s, r, "ranked", false, false, out);
    }
    put_ranked(s, r, "plain", true, false, out);
    strbuf_puts(out, "}");
}

static void put_category(const Diff *s, size_t c, StrBuf *out)
{
    const DiffCategory *k = &s->categories.list[c];
    const DiffOutcome *o = &s->outcomes[c];
    strbuf_puts(out, "{\"name\": ");
    strbuf_json_string(out, k->name, strlen(k->name));
    strbuf_json_field_text(out, "kind", k->kind == DIFF_KIND_OTHER ? "choice" : diff_kind_name(k->kind));
    put_count(out, "n_pairs", k->n_pairs);
    put_count(out, "n_matched", o->n_matched);
    if (s->controls) {
        strbuf_json_field_number(out, "pair_distance", k->pair_distance);
        strbuf_json_field_number(out, "control_distance", k->control_distance);
        strbuf_printf(out, ", \"control_is_far\": %s", o->at[DIFF_ALL].control_is_far ? "true" : "false");
    }
    put_count(out, "n_templates", k->n_templates);
    put_count(out, "n_word_pairs", k->n_words);
    strbuf_json_field_text(out, "scope", s->controls ? diff_stats_scope_name(o->at[DIFF_ALL].design.scope) : "none");
    if (s->controls)
        strbuf_json_field_number(out, "identical_pair_largest_difference", o->identical);
    strbuf_puts(out, ",\n   \"positions\": [");
    for (int class = 0, n = 0; class < DIFF_N_CLASSES; class ++) {
        if (!o->at[class].n)
            continue;
        strbuf_puts(out, n++ ? ",\n    " : "\n    ");
        put_position(s, (DiffClass) class, &o->at[class], out);
    }
    strbuf_puts(out, "]}");
}

/* Names of the categories on one side. */
static void put_side(const Diff *s, DiffClass class, DiffKind kind, const char *name, StrBuf *out)
{
    size_t n = 0;
    strbuf_json_field(out, name);
    strbuf_puts(out, "[");
    for (size_t c = 0; c < s->categories.n; c++)
        if (s->categories.list[c].kind == kind && diff_in_contrast(&s->categories.list[c], &s->outcomes[c].at[class]))
            strbuf_printf(out, "%s\"%s\"", n++ ? ", " : "", s->categories.list[c].name);
    strbuf_puts(out, "]");
}

static void put_contrast(const Diff *s, StrBuf *out)
{
    size_t n_put = 0;
    strbuf_puts(out, ",\n \"contrast\": [");
    for (int class = 0; class < DIFF_N_CLASSES; class ++) {
        const DiffContrast *c = &s->contrasts[class];
        for (int k = 0; c->curves && k < DIFF_N_CURVES; k++) {
            const DiffStatsContrast *x = c->curves + k;
            size_t stride = sizeof *x * DIFF_N_CURVES / sizeof(double), n = s->n_points - 1;
            strbuf_printf(out, "%s\n  {\"position\": \"%s\", \"curve\": \"%s\", \"n_errors\": %zu, \"n_meanings\": %zu",
                          n_put++ ? "," : "", diff_class_names[class], diff_curve_names[k], c->n_errors, c->n_meanings);
            put_side(s, (DiffClass) class, DIFF_KIND_ERROR, "errors", out);
            put_side(s, (DiffClass) class, DIFF_KIND_MEANING, "meanings", out);
            put_numbers(out, "difference", &x->difference, n, stride);
            put_numbers(out, "se", &x->se, n, stride);
            put_numbers(out, "lo", &x->lo, n, stride);
            put_numbers(out, "hi", &x->hi, n, stride);
            put_numbers(out, "p", &x->p, n, stride);
            strbuf_puts(out, "}");
        }
    }
    strbuf_puts(out, "],\n \"contrast_cells\": [");
    for (int class = 0, n = 0; class < DIFF_N_CLASSES; class ++) {
        const DiffContrast *c = &s->contrasts[class];
        if (c->curves)
            strbuf_printf(out, "%s\n  {\"position\": \"%s\", \"n_tested\": %zu, \"n_lower\": %zu, \"n_higher\": %zu}",
                          n++ ? "," : "", diff_class_names[class], c->n_tested, c->n_lower, c->n_higher);
    }
    strbuf_puts(out, "]");
}

static void put_floors(const Diff *s, StrBuf *out)
{
    static const char *const names[DIFF_N_FLOORS] = {"unshared_prefix", "one_pair_a_block", "ref64"};
    strbuf_puts(out, ",\n \"floors\": {");
    for (int k = 0, n = 0; k < DIFF_N_FLOORS; k++) {
        const DiffFloor *f = &s->floors[k];
        if (!f->most)
            continue;
        strbuf_printf(out, "%s\n  \"%s\": {\"n_pairs\": %zu", n++ ? "," : "", names[k], f->n_pairs);
        put_numbers(out, "largest", f->most, s->n_points - 1, 1);
        put_numbers(out, "rms", f->rms, s->n_points - 1, 1);
        strbuf_json_field_number(out, "largest_final_norm", f->most[s->n_points - 1]);
        strbuf_puts(out, "}");
    }
    strbuf_puts(out, "}");
}

static void put_ablations(const Diff *s, StrBuf *out)
{
    strbuf_puts(out, ",\n \"ablation\": [");
    for (size_t i = 0; i < s->n_ablations; i++) {
        const DiffAblation *a = &s->ablations[i];
        strbuf_printf(
            out, "%s\n  {\"category\": \"%s\", \"position\": \"%s\", \"layer\": %zu, \"n_dims\": %zu, \"n_pairs\": %zu",
            i ? "," : "", s->categories.list[a->category].name, diff_class_names[a->class], a->point, a->n_dims, a->n_pairs);
        strbuf_json_field_number(out, "area_intact", a->area[0]);
        strbuf_json_field_number(out, "area_claimed_before", a->before[1]);
        strbuf_json_field_number(out, "area_claimed", a->area[1]);
        put_numbers(out, "area_random_before", a->before + 2, DIFF_ABLATION_SETS, 1);
        put_numbers(out, "area_random", a->area + 2, DIFF_ABLATION_SETS, 1);
        strbuf_json_field_number(out, "area_p", a->p_area);
        strbuf_json_field_number(out, "loss_base_intact", a->loss_a[0]);
        strbuf_json_field_number(out, "loss_base_claimed", a->loss_a[1]);
        put_numbers(out, "loss_base_random", a->loss_a + 2, DIFF_ABLATION_SETS, 1);
        strbuf_json_field_number(out, "loss_edited_intact", a->loss_b[0]);
        strbuf_json_field_number(out, "loss_edited_claimed", a->loss_b[1]);
        put_numbers(out, "loss_edited_random", a->loss_b + 2, DIFF_ABLATION_SETS, 1);
        strbuf_json_field_number(out, "loss_edited_p", a->p_loss);
        strbuf_puts(out, ", \"dims\": [");
        for (size_t k = 0; k < a->n_dims; k++)
            strbuf_printf(out, "%s%d", k ? ", " : "", a->dims[k]);
        strbuf_puts(out, "]}");
    }
    strbuf_puts(out, "]");
}

static void put_sigma(const Diff *s, StrBuf *out)
{
    uint64_t n_massive = 0;
    size_t n_dims = 0;
    for (size_t i = 0; i < (s->n_points - 1) * s->d; i++) {
        n_massive += s->sigma.n_massive[i];
        n_dims += s->sigma.n_massive[i] > 0;
    }
    strbuf_puts(out, ",\n \"sigma\": {\"corpus\": ");
    strbuf_json_string(out, s->corpus.name, strlen(s->corpus.name));
    strbuf_json_field_text(out, "ids_sha256", s->corpus.ids_sha256);
    put_count(out, "n_windows", s->corpus.n_windows);
    put_count(out, "n_positions", s->sigma.n_positions);
    put_count(out, "n_left_out", (size_t)n_massive);
    put_count(out, "n_massive_cells", n_dims);
    put_numbers(out, "median_size", s->sigma.median_size, s->n_points - 1, 1);
    strbuf_puts(out, "}");
}

static void put_fdr(const Diff *s, StrBuf *out)
{
    strbuf_puts(out, ",\n \"fdr\": {\"level\": ");
    strbuf_json_number(out, DIFF_STATS_LEVEL);
    put_count(out, "n_tested", s->fdr.n_tested);
    put_count(out, "n_rejected", s->fdr.n_rejected);
    strbuf_json_field_number(out, "threshold", s->fdr.threshold);
    put_count(out, "n_rejected_any_dependence", s->fdr_any.n_rejected);
    put_count(out, "n_claims", s->n_claims);
    strbuf_puts(out, "}");
}

int diff_write_json(const Diff *s, StrBuf *out, Error *e)
{
    size_t n_pairs = 0;
    for (size_t c = 0; c < s->categories.n; c++)
        n_pairs += s->categories.list[c].n_pairs;
    strbuf_puts(out, "{\"schema\": \"strata.diff/1\"");
    strbuf_json_field_text(out, "model", s->bench.path.name);
    strbuf_json_field_text(out, "pairs", "pairs.jsonl");
    strbuf_json_field_text(out, "tap", diff_tap_name(s->tap));
    strbuf_json_field_text(out, "order", s->order.spec);
    strbuf_json_field_text(out, "dtype", s->bench.dtype);
    strbuf_json_field_text(out, "numerics", s->bench.numerics);
    put_count(out, "n_layers", s->order.n_items);
    put_count(out, "hidden", s->d);
    put_count(out, "n_pairs", n_pairs);
    strbuf_printf(out, ", \"seed\": %llu, \"bos\": %s, \"controls\": \"%s\"", (unsigned long long)s->bench.common->seed,
                  s->bench.bos ? "true" : "false", s->controls ? "all" : "none");
    put_sigma(s, out);
    if (s->controls) {
        put_fdr(s, out);
        put_floors(s, out);
    }
    strbuf_puts(out, ",\n \"categories\": [");
    for (size_t c = 0; c < s->categories.n; c++) {
        strbuf_puts(out, c ? ",\n  " : "\n  ");
        put_category(s, c, out);
    }
    strbuf_puts(out, "]");
    if (s->controls) {
        put_contrast(s, out);
        put_ablations(s, out);
    }
    strbuf_puts(out, "}\n");
    return out->failed ? error_set(e, STATUS_FAILED, "diff.json: out of memory") : STATUS_OK;
}
