/* library_user.c: a program of someone who uses the installed library; built by test_library.sh, not part of our build. Its
 * one argument is the folder of the sources, where the demonstration model lies. It opens a model, runs an order, taps the
 * residual stream, and runs a plan. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <strata.h>

static int n_taps;

static int tap(void *user, const char *name, const double *values, size_t n_rows, size_t width)
{
    (void)user;
    n_taps += n_rows == 4 && width == 192 && isfinite(values[0]) && strlen(name) > 0;
    return 0;
}

int main(int argc, char **argv)
{
    char path[4096];
    StrataError error = {""};
    StrataModel *model = NULL;
    StrataPrediction one[3], many[2][3];
    StrataPlanCounts counts;
    const int32_t ids[] = {5, 17, 23, 42};
    const char *orders[] = {"0-11", "0-3,5-11"};
    snprintf(path, sizeof path, "%s/tools/demo/model", argc > 1 ? argv[1] : ".");
    int failed = strata_model_open(path, NULL, &model, &error) ||
                 strata_run(model, orders[1], ids, 4, tap, NULL, one, &error) ||
                 strata_run_orders(model, orders, 2, ids, 4, many[0], &counts, &error);
    if (failed) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    int same = fabs(one[2].nll - many[1][2].nll) < 1e-5 && many[0][0].kl == 0 && counts.layer_evaluations == 19;
    printf("strata %s: %d taps, nll %.4f, %lld of %lld layer evaluations\n", strata_version(), n_taps, one[2].nll,
           (long long)counts.layer_evaluations, (long long)counts.naive_layer_evaluations);
    int refused = strata_run(model, "0-12", ids, 4, NULL, NULL, NULL, &error) == 2 && strstr(error.text, "12 layers") != NULL;
    strata_model_close(model);
    return same && refused && n_taps == 11 * 3 + 1 ? 0 : 1;
}
