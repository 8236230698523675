/* diff_print.c: what was found, in plain words: which claims hold against their control and which do not. */
#include <math.h>
#include <string.h>

#include "experiments/diff_write.h"
#include "experiments/model_name.h"

static void print_sigma(const Diff *s, FILE *out)
{
    size_t n_massive = 0;
    for (size_t i = 0; i < (s->n_points - 1) * s->d; i++)
        n_massive += s->sigma.n_massive[i] > 0;
    fprintf(out, "Sigma: %zu positions of %zu windows of %s", s->sigma.n_positions, s->corpus.n_windows, s->corpus.name);
    if (n_massive)
        fprintf(out, "; massive activations left out in %zu (layer, dimension)s", n_massive);
    fprintf(out, ".\n");
}

/* A ratio with an interval in words. */
static const char *in_words(const DiffStatsCell *c)
{
    if (c->hi < 1)
        return "less than the control";
    return c->lo > 1 ? "more than the control" : "not told from the control";
}

/* How many of the stream's points behind the embedding change less than 0.8 of their control as a whole. */
static size_t count_whole(const Diff *s, const DiffResult *r)
{
    size_t n = 0;
    for (size_t point = 1; point + 1 < s->n_points; point++)
        n += r->curves[point * DIFF_N_CURVES + DIFF_CURVE_NORMALISED].cell.upper < DIFF_STATS_RATIO;
    return n;
}

static void print_claims(const Diff *s, const DiffResult *r, FILE *out)
{
    if (isnan(r->design.df[2])) {
        fprintf(out, "          not tested: it needs %d templates with a control\n", DIFF_STATS_FEW);
        return;
    }
    if (!r->n_claims) {
        fprintf(out, "          does not hold: no (layer, dimension) is shown to change less than 0.8 of its control\n");
        return;
    }
    fprintf(out, "          HOLDS: %zu of %zu (layer, dimension)s change less than 0.8 of their control%s", r->n_claims,
            (s->n_points - 1) * s->d, r->design.scope == DIFF_STATS_WORDS ? ", about these words only" : "");
    size_t whole = count_whole(s, r);
    if (whole)
        fprintf(out, "; so does the whole stream after %zu of %zu layers", whole, s->n_points - 2);
    fprintf(out, "\n");
    uint32_t best[3];
    size_t n = diff_rank_cells(s, r, false, true, 3, best);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "            layer %zu dimension %zu: ratio %.3f, at most %.3f\n", best[i] / s->d, best[i] % s->d,
                (double)r->ratio[best[i]], (double)r->upper[best[i]]);
}

static void print_position(const Diff *s, DiffClass class, const DiffResult *r, FILE *out)
{
    const DiffCurvePoint *last = &r->curves[(s->n_points - 2) * DIFF_N_CURVES + DIFF_CURVE_NORMALISED];
    fprintf(out, "  %-7s ", diff_class_names[class]);
    if (isnan(last->pairs)) {
        fprintf(out, "the last step has no %s\n", diff_tap_name(s->tap));
    } else {
        if (s->tap == DIFF_TAP_RESID)
            fprintf(out, "|difference| after the last layer: %6.3f sigma", last->pairs);
        else
            fprintf(out, "|difference| of the last %s: %6.3f sigma", diff_tap_name(s->tap), last->pairs);
        if (s->controls && r->n_control) {
            fprintf(out, "; with a control %.3f against %.3f, ratio %.3f", last->cell.mean, last->control, last->cell.ratio);
            if (isfinite(last->cell.lo) && isfinite(last->cell.hi))
                fprintf(out, " [%.3f, %.3f]: %s", last->cell.lo, last->cell.hi, in_words(&last->cell));
        }
        fprintf(out, "\n");
    }
    if (s->controls && r->n_control && !r->control_is_far)
        print_claims(s, r, out);
}

static void print_category(const Diff *s, size_t c, FILE *out)
{
    const DiffCategory *k = &s->categories.list[c];
    const DiffOutcome *o = &s->outcomes[c];
    fprintf(out, "\n%s (%s): %zu pairs, %zu templates, %zu word pairs", k->name,
            k->kind == DIFF_KIND_OTHER ? "choice" : diff_kind_name(k->kind), k->n_pairs, k->n_templates, k->n_words);
    if (s->controls)
        fprintf(out, ", %zu with a matched control", o->n_matched);
    if (s->controls && o->n_matched)
        fprintf(out, " (embeddings %.3f apart, the pairs' %.3f)", k->control_distance, k->pair_distance);
    fprintf(out, "\n");
    if (s->controls && !o->n_matched)
        fprintf(out, "  no pair has 20 matched candidates, words as frequent and of that kind: nothing is claimed\n");
    else if (s->controls && 2 * o->n_matched < k->n_pairs)
        fprintf(out, "  what is said against a control is about those %zu pairs, not about the category\n", o->n_matched);
    if (s->controls && o->at[DIFF_ALL].control_is_far)
        fprintf(out, "  the control's words lie farther: its changes count in proportion to the distance, no single dimension "
                     "is claimed\n");
    for (int class = 0; class < DIFF_N_CLASSES; class ++)
        if (o->at[class].n)
            print_position(s, (DiffClass) class, &o->at[class], out);
}

static void print_side(const Diff *s, DiffClass class, DiffKind kind, FILE *out)
{
    const char *before = "";
    for (size_t c = 0; c < s->categories.n; c++) {
        const DiffResult *r = &s->outcomes[c].at[class];
        if (s->categories.list[c].kind != kind || !diff_in_contrast(&s->categories.list[c], r))
            continue;
        fprintf(out, "%s%s%s", before, s->categories.list[c].name, r->control_is_far ? "*" : "");
        before = ", ";
    }
}

static void print_contrast(const Diff *s, FILE *out)
{
    bool any = false;
    for (int class = 0; class < DIFF_N_CLASSES; class ++) {
        const DiffContrast *c = &s->contrasts[class];
        if (!c->curves)
            continue;
        const DiffStatsContrast *x = &c->curves[(s->n_points - 2) * DIFF_N_CURVES + DIFF_CURVE_NORMALISED];
        if (!any)
            fprintf(out,
                    "\nError minus meaning, ratios to control after the last layer (below 0: errors change the stream less;\n"
                    "* its control lies farther: the interval spans all that may follow from it)\n");
        any = true;
        fprintf(out, "  %-7s ", diff_class_names[class]);
        print_side(s, (DiffClass) class, DIFF_KIND_ERROR, out);
        fprintf(out, " minus ");
        print_side(s, (DiffClass) class, DIFF_KIND_MEANING, out);
        fprintf(out, ": %+.3f [%+.3f, %+.3f]: %s\n", x->difference, x->lo, x->hi,
                !(isfinite(x->lo) && isfinite(x->hi)) ? "no test"
                : x->hi < 0                           ? "errors change less"
                : x->lo > 0                           ? "errors change more"
                                                      : "no difference shown");
        if (c->n_tested)
            fprintf(out, "          single dimensions, without those marked *: %zu lower, %zu higher of %zu\n", c->n_lower,
                    c->n_higher, c->n_tested);
    }
    if (!any)
        fprintf(
            out,
            "\nError minus meaning: not told, for want of an error and a meaning category with %d templates and %d word pairs "
            "that have a control.\n",
            DIFF_STATS_MIN_CLUSTERS, DIFF_STATS_MIN_CLUSTERS);
}

static void print_floors(const Diff *s, FILE *out)
{
    static const char *const names[DIFF_N_FLOORS] = {"whole sentences instead of shared prefixes", "one pair a block", "f64"};
    fprintf(out, "\nNumerical floors, the largest change of a difference by computing with\n");
    for (int k = 0; k < DIFF_N_FLOORS; k++) {
        double most = 0;
        for (size_t i = 0; s->floors[k].most && i + 1 < s->n_points; i++)
            most = fmax(most, s->floors[k].most[i]);
        if (s->floors[k].most)
            fprintf(out, "  %-43s %.3g\n", names[k], most);
    }
}

/* One outcome of an ablation in words. */
static const char *set_in_words(double p)
{
    return isnan(p) ? "no test" : p <= DIFF_STATS_LEVEL ? "unlike random ones" : "not told from random ones";
}

static void print_ablation(const Diff *s, const DiffAblation *a, FILE *out)
{
    double area = 0, loss = 0;
    for (size_t k = 2; k < 2 + DIFF_ABLATION_SETS; k++) {
        area += a->area[k] / a->before[k] / DIFF_ABLATION_SETS;
        loss += a->loss_b[k] / DIFF_ABLATION_SETS;
    }
    fprintf(out,
            "  %s, layer %zu, %zu of %zu claimed dimensions: the difference behind, in the other dimensions, %+.2f %% (random "
            "%+.2f %%): %s;\n",
            s->categories.list[a->category].name, a->point, a->n_dims, a->n_claims, 100 * (a->area[1] / a->before[1] - 1),
            100 * (area - 1), set_in_words(a->p_area));
    fprintf(out, "    loss %+.4f nats (random %+.4f): %s\n", a->loss_b[1] - a->loss_b[0], loss - a->loss_b[0],
            set_in_words(a->p_loss));
}

static void print_ablations(const Diff *s, FILE *out)
{
    if (s->n_ablations)
        fprintf(
            out,
            "\nAblation: claimed dimensions held at their corpus mean from the edit on, and %d times as many random ones; %zu\n"
            "tests at 5 %% each, so that %.1f would tell them apart by chance\n",
            DIFF_ABLATION_SETS, 2 * s->n_ablations, DIFF_STATS_LEVEL * 2 * (double)s->n_ablations);
    for (size_t i = 0; i < s->n_ablations; i++)
        print_ablation(s, &s->ablations[i], out);
}

/* The model's basis against random ones, at the first position class that was turned. */
static void print_bases(const Diff *s, FILE *out)
{
    bool any = false;
    for (size_t c = 0; c < s->categories.n; c++) {
        const DiffResult *r = &s->outcomes[c].at[DIFF_EDITED];
        double counts[1 + DIFF_RANDOM_BASES] = {0};
        for (size_t point = 1; r->n_rotated && point + 1 < s->n_points; point++)
            for (size_t k = 0; k <= DIFF_RANDOM_BASES; k++)
                counts[k] += r->stable[point * (1 + DIFF_RANDOM_BASES) + k];
        if (!r->n_rotated)
            continue;
        DiffStatsRotation x = diff_stats_rotation(counts[0], counts + 1, DIFF_RANDOM_BASES);
        if (!any)
            fprintf(out,
                    "\nCoordinates with a ratio below 0.8 at the edited token, in the model's basis and in %d random ones\n",
                    DIFF_RANDOM_BASES);
        any = true;
        fprintf(out, "  %-15s %6.0f, random %.0f [%.0f, %.0f]: %s\n", s->categories.list[c].name, x.count, x.mean, x.least,
                x.most,
                x.p_more <= DIFF_STATS_LEVEL    ? "more than in any random basis"
                : x.p_fewer <= DIFF_STATS_LEVEL ? "fewer than in any random basis"
                                                : "not told from random bases");
    }
}

void diff_print(const Diff *s, FILE *out)
{
    char name[MODEL_NAME_BYTES];
    fprintf(out, "\n%s, order %s, %s\n", model_name_short(s->bench.path.name, name), s->order.spec,
            s->tap == DIFF_TAP_RESID ? "residual stream" : diff_tap_name(s->tap));
    print_sigma(s, out);
    if (!s->controls)
        fprintf(out, "Plain analysis: without controls, nothing is claimed.\n");
    for (size_t c = 0; c < s->categories.n; c++)
        print_category(s, c, out);
    if (!s->controls)
        return;
    print_contrast(s, out);
    print_bases(s, out);
    print_ablations(s, out);
    print_floors(s, out);
    fprintf(out, "\n%zu claims among %zu tests (false discoveries held at 5 %%; %zu rejected, %zu under any dependence).\n",
            s->n_claims, s->fdr.n_tested, s->fdr.n_rejected, s->fdr_any.n_rejected);
}
