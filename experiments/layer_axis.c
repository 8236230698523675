/* layer_axis.c: see layer_axis.h. */
#include "experiments/layer_axis.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* By the experiment's name up to its colon. */
typedef struct AxisLabel {
    const char *experiment, *label;
} AxisLabel;
static const AxisLabel labels[] = {{"removal", "removed layer"},
                                   {"exchange", "exchanged layers i, i + 1 (at i + 1/2)"},
                                   {"block", "middle of the removed block (layer)"},
                                   {"replace", "replaced layer"},
                                   {"repeat", "repeated layer"},
                                   {"attn-removal", "layer whose attention is removed"},
                                   {"mlp-removal", "layer whose MLP is removed"},
                                   {"parallel", "middle of the parallel group (layer)"}};

const char *layer_axis_label(const char *experiment)
{
    size_t len = strcspn(experiment, ":");
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
        if (strlen(labels[i].experiment) == len && memcmp(labels[i].experiment, experiment, len) == 0)
            return labels[i].label;
    return NULL;
}

double layer_axis_place(const char *experiment, const char *order_name)
{
    bool first_only = strcmp(experiment, "replace") == 0;
    double sum = 0;
    int n = 0;
    for (const char *s = order_name; *s && !(first_only && n);) {
        if (*s < '0' || *s > '9') {
            s++;
            continue;
        }
        char *end;
        sum += strtod(s, &end);
        n++;
        s = end;
    }
    return n ? sum / n : NAN;
}

double layer_axis_relative(double place, int n_layers)
{
    return n_layers > 1 ? place / (n_layers - 1) : place * 0;
}
