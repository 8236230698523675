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

/* A ratio in words. */
static const char *in_words(const DiffStatsCell *c)
{
    if (!(isfinite(c->lo) && isfinite(c->hi)))
        return "no test: too few templates or matched pairs";
    if (c->hi < 1)
        return "less than the control";
    return c->lo > 1 ? "more than the control" : "not told from the control";
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
    for (int class = 0; class < DIFF_N_CLASSES; class ++) {
        const DiffResult *r = &o->at[class];
        if (!r->n)
            continue;
        const DiffCurvePoint *last = &r->curves[(s->n_points - 2) * DIFF_N_CURVES + DIFF_CURVE_NORMALISED];
        fprintf(out, "  %-7s |difference| after the last layer: %6.3f sigma", diff_class_names[class], last->pairs);
        if (s->controls && r->n_control)
            fprintf(out, ", control %6.3f, ratio %.3f [%.3f, %.3f]: %s", last->control, last->cell.ratio, last->cell.lo,
                    last->cell.hi, in_words(&last->cell));
        fprintf(out, "\n");
        if (!s->controls)
            continue;
        if (r->n_control == 0)
            fprintf(out, "          no pair has 20 matched candidates: nothing is claimed\n");
        else if (r->control_is_far)
            fprintf(
                out,
                "          the control's tokens lie farther than the pairs': a small ratio says nothing, nothing is claimed\n");
        else if (r->n_claims)
            fprintf(out, "          HOLDS: %zu (layer, dimension)s change less than 0.8 of their control%s\n", r->n_claims,
                    r->design.scope == DIFF_STATS_WORDS ? ", about these words only" : "");
        else
            fprintf(out, "          does not hold: no (layer, dimension) is shown to change less than 0.8 of its control\n");
        uint32_t best[3];
        size_t n = diff_rank_cells(s, r, false, true, 3, best);
        for (size_t i = 0; i < n; i++)
            fprintf(out, "            layer %zu dimension %zu: ratio %.3f, at most %.3f\n", best[i] / s->d, best[i] % s->d,
                    (double)r->ratio[best[i]], (double)r->upper[best[i]]);
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
            fprintf(
                out,
                "\nError minus meaning, ratios to control after the last layer (below 0: errors change the stream less):\n");
        any = true;
        fprintf(out, "  %-7s %+.3f [%+.3f, %+.3f]: %s; single dimensions: %zu lower, %zu higher of %zu\n",
                diff_class_names[class], x->difference, x->lo, x->hi,
                !(isfinite(x->lo) && isfinite(x->hi)) ? "no test"
                : x->hi < 0                           ? "errors change less"
                : x->lo > 0                           ? "errors change more"
                                                      : "no difference shown",
                c->n_lower, c->n_higher, c->n_tested);
    }
    if (!any)
        fprintf(out,
                "\nError minus meaning: not told, it needs pairs of both kinds whose control lies no farther than they do.\n");
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

static void print_ablations(const Diff *s, FILE *out)
{
    for (size_t i = 0; i < s->n_ablations; i++) {
        const DiffAblation *a = &s->ablations[i];
        double area = 0, loss = 0, most = 0;
        for (size_t k = 2; k < 2 + DIFF_ABLATION_SETS; k++) {
            area += a->area[k] / DIFF_ABLATION_SETS;
            loss += a->loss_b[k] / DIFF_ABLATION_SETS;
            most = fmax(most, fabs(a->area[k] - a->area[0]));
        }
        if (i == 0)
            fprintf(out,
                    "\nAblation: the claimed dimensions held at their corpus mean from the edit on, and random ones alike\n");
        fprintf(
            out,
            "  %s, layer %zu, %zu dimensions: area under the difference curve %+.2f %% (random %+.2f %%), loss %+.4f (random "
            "%+.4f) nats: %s\n",
            s->categories.list[a->category].name, a->point, a->n_dims, 100 * (a->area[1] / a->area[0] - 1),
            100 * (area / a->area[0] - 1), a->loss_b[1] - a->loss_b[0], loss - a->loss_b[0],
            fabs(a->area[1] - a->area[0]) > most ? "more than any random set" : "no more than random sets");
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
    print_ablations(s, out);
    print_floors(s, out);
    fprintf(out, "\n%zu claims among %zu tests (false discoveries held at 5 %%; %zu rejected, %zu under any dependence).\n",
            s->n_claims, s->fdr.n_tested, s->fdr.n_rejected, s->fdr_any.n_rejected);
}
