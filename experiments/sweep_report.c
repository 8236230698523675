/* sweep_report.c: the terminal's view of a finished sweep. */
#include "experiments/sweep_report.h"

#include <math.h>
#include <stdlib.h>

#include "experiments/model_name.h"
#include "experiments/statistics.h"

enum { SHOWN_EACH_END = 5 };

static const Results *sorting; /* qsort has no context argument */

static int by_delta(const void *a, const void *b)
{
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    double x = sorting->orders[i].delta_nll, y = sorting->orders[j].delta_nll;
    if (isnan(x) || isnan(y))
        return isnan(x) - isnan(y);
    if (x != y)
        return x < y ? 1 : -1;
    return i < j ? -1 : 1;
}

static void print_row(const ResultsInput *in, const Results *r, size_t i, FILE *out)
{
    const OrderResult *x = &r->orders[i];
    char interval[48] = "";
    if (i && !isnan(x->ci95[0]))
        snprintf(interval, sizeof interval, "[%+.4f, %+.4f]", x->ci95[0], x->ci95[1]);
    fprintf(out, "  %-22s %12.4g %+10.4f  %-20s %7.2f %% %8.4f\n", in->orders->orders[i].name, x->ppl, i ? x->delta_nll : 0.0,
            interval, 100 * x->agreement, x->kl);
}

/* The path of a greedy sweep: what even windows chose, and what odd ones say of it. */
static void print_path(const ResultsInput *in, FILE *out)
{
    const GreedyPath *g = in->greedy;
    fprintf(out, "  %-5s %7s %16s %16s %16s\n", "stage", "removed", "nll, even (chose)", "nll, odd", "delta nll, odd");
    fprintf(out, "  %-5s %7s %16.4f %16.4f %+16.4f\n", "", "nothing", g->intact_even, g->intact_odd, 0.0);
    for (size_t i = 0; i < g->n_done; i++)
        fprintf(out, "  %-5zu %7d %16.4f %16.4f %+16.4f\n", i, g->removed[i], g->stages[i].nll_even, g->stages[i].nll_odd,
                g->stages[i].nll_odd - g->intact_odd);
}

/* Files of a finished sweep, and what to do next: parts of speech where there are words. */
static void print_written(const ResultsInput *in, FILE *out)
{
    StrBuf folder = {0};
    strbuf_shell_word(&folder, in->dir);
    fprintf(out, "\nwritten: %s/ppl.json, ppl.csv, ledger.safetensors, rows.jsonl, run.json, figures/\nnext: strata %s %s\n",
            in->dir, in->windows->has_text ? "pos" : "report", folder.failed ? "FOLDER" : folder.data);
    strbuf_free(&folder);
}

int sweep_report(Sweep *s, const ResultsInput *in, const Results *r, Error *e)
{
    char name[MODEL_NAME_BYTES];
    FILE *out = s->bench.common->out;
    if (!out)
        return STATUS_OK;
    if (s->bench.common->json) {
        StrBuf text = {0};
        int status = results_json(in, r, &text, e);
        if (!status)
            fwrite(text.data, 1, text.len, out);
        strbuf_free(&text);
        return status;
    }
    fprintf(out, "\n%s on %s, %zu predicted tokens\n\n", model_name_short(in->model, name), in->dataset, in->windows->n_tokens);
    if (in->greedy) {
        print_path(in, out);
        print_written(in, out);
        return STATUS_OK;
    }
    size_t n = r->n_orders - 1, *rank = malloc((n ? n : 1) * sizeof *rank);
    if (!rank)
        return error_set(e, STATUS_FAILED, "sweep: out of memory");
    for (size_t i = 0; i < n; i++)
        rank[i] = i + 1;
    sorting = r;
    qsort(rank, n, sizeof *rank, by_delta);
    fprintf(out, "  %-22s %12s %10s  %-20s %9s %8s\n", "order", "perplexity", "delta nll", "95 % interval", "agreement", "KL");
    print_row(in, r, 0, out);
    size_t head = n <= 2 * SHOWN_EACH_END ? n : SHOWN_EACH_END;
    for (size_t i = 0; i < head; i++)
        print_row(in, r, rank[i], out);
    if (head < n) {
        fprintf(out, "  ... %zu more ...\n", n - 2 * SHOWN_EACH_END);
        for (size_t i = n - SHOWN_EACH_END; i < n; i++)
            print_row(in, r, rank[i], out);
    }
    free(rank);
    if (n && !r->has_intervals)
        fprintf(out, "No intervals from %zu %s: the bootstrap needs %d; sweep more rows.\n", in->windows->n_units,
                in->windows->units_are_articles ? "articles" : "windows", STATISTICS_MIN_UNITS);
    print_written(in, out);
    return STATUS_OK;
}
