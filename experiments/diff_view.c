/* diff_view.c: see diff_view.h. Optional fields are looked for; one of the wrong kind is an error that names it. */
#include "experiments/diff_view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"

typedef struct Reader {
    DiffView *r;
    Error *e;
    int status; /* of the first failure; later reads do nothing */
} Reader;

static double number(Reader *in, const ResultNode *at, const char *field)
{
    double v = NAN;
    if (!in->status && result_has(at, field))
        in->status = result_number(at, field, &v, in->e);
    return v;
}

static const char *text(Reader *in, const ResultNode *at, const char *field, const char *otherwise)
{
    const char *s = otherwise;
    if (!in->status && result_has(at, field))
        in->status = result_string(at, field, &s, in->e);
    return s;
}

static size_t index_of(Reader *in, const ResultNode *at, const char *field, size_t below)
{
    int64_t v = 0;
    if (!in->status)
        in->status = result_integer(at, field, &v, in->e);
    if (!in->status && (v < 0 || (uint64_t)v >= below))
        in->status = error_set(in->e, STATUS_FAILED, "%s: %s.%s: expected below %zu, found %lld", at->path, at->where, field,
                               below, (long long)v);
    return in->status ? 0 : (size_t)v;
}

static void *take(Reader *in, size_t n, size_t bytes)
{
    void *p = in->status ? NULL : arena_array(&in->r->arena, n ? n : 1, bytes);
    if (!p && !in->status)
        in->status = error_set(in->e, STATUS_FAILED, "%s: no memory", in->r->json.path);
    return p;
}

/* An array over the layer points; NULL when it is not there. */
static const double *series(Reader *in, const ResultNode *at, const char *field)
{
    if (in->status || !result_has(at, field))
        return NULL;
    double *v = take(in, in->r->n_points, sizeof *v);
    if (v)
        in->status = result_numbers(at, field, v, in->r->n_points, in->e);
    return in->status ? NULL : v;
}

/* A list or object that may be absent: zeroed then, and result_each finds nothing in it. */
static ResultNode part(Reader *in, const ResultNode *at, const char *field)
{
    ResultNode node = {0};
    if (!in->status && result_has(at, field))
        in->status = result_child(at, field, &node, in->e);
    return node;
}

static bool each(Reader *in, const ResultNode *list, ResultNode *item)
{
    return !in->status && list->json && result_each(list, item);
}

static size_t count_items(Reader *in, const ResultNode *list)
{
    ResultNode item = {0};
    size_t n = 0;
    while (each(in, list, &item))
        n++;
    return n;
}

static void read_curves(Reader *in, const ResultNode *at, DiffViewPosition *p)
{
    ResultNode list = part(in, at, "curves"), item = {0};
    p->curves = take(in, count_items(in, &list), sizeof *p->curves);
    while (each(in, &list, &item)) {
        DiffViewCurve *c = &p->curves[p->n_curves++];
        c->name = result_name(&item);
        c->pairs = series(in, &item, "pairs");
        c->control = series(in, &item, "control");
        c->ratio = series(in, &item, "ratio");
        c->lo = series(in, &item, "lo");
        c->hi = series(in, &item, "hi");
        c->n = number(in, &item, "n");
    }
}

static void read_lists(Reader *in, const ResultNode *at, DiffViewPosition *p)
{
    ResultNode list = part(in, at, "ranked"), item = {0};
    p->ranked = take(in, count_items(in, &list), sizeof *p->ranked);
    while (each(in, &list, &item)) {
        DiffViewCell *c = &p->ranked[p->n_ranked++];
        *c = (DiffViewCell){.layer = index_of(in, &item, "layer", in->r->n_points),
                            .dim = index_of(in, &item, "dim", in->r->hidden),
                            .mean = number(in, &item, "mean"),
                            .control = number(in, &item, "control"),
                            .ratio = number(in, &item, "ratio"),
                            .upper = number(in, &item, "upper"),
                            .p = number(in, &item, "p"),
                            .half_ratio = {NAN, NAN}};
        if (!in->status && result_has(&item, "half_ratio"))
            in->status = result_numbers(&item, "half_ratio", c->half_ratio, 2, in->e);
        c->is_claim = result_is_true(&item, "claim");
    }
    list = part(in, at, "plain");
    item = (ResultNode){0};
    p->plain = take(in, count_items(in, &list), sizeof *p->plain);
    while (each(in, &list, &item))
        p->plain[p->n_plain++] = (DiffViewPlain){index_of(in, &item, "layer", in->r->n_points),
                                                 index_of(in, &item, "dim", in->r->hidden), number(in, &item, "mean_abs")};
    list = part(in, at, "margins");
    item = (ResultNode){0};
    while (p->n_margins < DIFF_VIEW_MARGINS && each(in, &list, &item))
        p->margins[p->n_margins++] = (DiffViewMargin){number(in, &item, "margin"), number(in, &item, "n_rejected")};
}

static void read_rotations(Reader *in, const ResultNode *at, DiffViewPosition *p)
{
    ResultNode list = part(in, at, "rotation"), item = {0};
    bool is_one = list.json && result_has(&list, "count"); /* one object, or a list of them */
    p->rotations = take(in, is_one ? 1 : count_items(in, &list), sizeof *p->rotations);
    while (is_one ? p->n_rotations == 0 && !in->status : each(in, &list, &item)) {
        const ResultNode *o = is_one ? &list : &item;
        p->rotations[p->n_rotations++] =
            (DiffViewRotation){text(in, o, "what", ""), number(in, o, "count"),   number(in, o, "mean"),
                               number(in, o, "sd"),     number(in, o, "least"),   number(in, o, "most"),
                               number(in, o, "p_more"), number(in, o, "p_fewer"), number(in, o, "n")};
    }
}

static void read_position(Reader *in, const ResultNode *at, DiffViewPosition *p)
{
    if (!in->status)
        in->status = result_string(at, "name", &p->name, in->e);
    p->n_pairs = number(in, at, "n_pairs");
    p->n_claims = number(in, at, "n_claims");
    read_curves(in, at, p);
    p->shuffled = series(in, at, "shuffled");
    p->unrelated = series(in, at, "unrelated");
    p->floor = series(in, at, "floor");
    p->claims_per_layer = series(in, at, "claims_per_layer");
    p->kendall_w = series(in, at, "kendall_w");
    p->kendall_w_control = series(in, at, "kendall_w_control");
    read_lists(in, at, p);
    read_rotations(in, at, p);
    ResultNode fit = part(in, at, "crossfit");
    bool has_fit = fit.json != NULL;
    p->n_best = has_fit ? number(in, &fit, "n_best") : NAN;
    p->n_chosen = has_fit ? number(in, &fit, "n_chosen") : NAN;
    p->chosen_ratio = has_fit ? number(in, &fit, "chosen_ratio") : NAN;
    p->scored_ratio = has_fit ? number(in, &fit, "scored_ratio") : NAN;
    p->n_below = has_fit ? number(in, &fit, "n_below") : NAN;
    p->n_bound_below = has_fit ? number(in, &fit, "n_bound_below") : NAN;
}

static void read_category(Reader *in, const ResultNode *at, DiffViewCategory *c)
{
    if (!in->status)
        in->status = result_string(at, "name", &c->name, in->e);
    c->kind = text(in, at, "kind", "");
    c->scope = text(in, at, "scope", "none");
    c->control_is_far = result_is_true(at, "control_is_far");
    c->n_pairs = number(in, at, "n_pairs");
    c->n_matched = number(in, at, "n_matched");
    c->n_templates = number(in, at, "n_templates");
    c->n_word_pairs = number(in, at, "n_word_pairs");
    ResultNode list = part(in, at, "positions"), item = {0};
    c->positions = take(in, count_items(in, &list), sizeof *c->positions);
    while (each(in, &list, &item))
        read_position(in, &item, &c->positions[c->n_positions++]);
}

static void read_head(Reader *in, const ResultNode *root)
{
    DiffView *r = in->r;
    int64_t layers = 0, hidden = 0;
    in->status = result_integer(root, "n_layers", &layers, in->e);
    if (!in->status)
        in->status = result_integer(root, "hidden", &hidden, in->e);
    if (!in->status && (layers < 0 || layers > 1 << 20 || hidden < 1 || hidden > 1 << 24))
        in->status = error_set(in->e, STATUS_FAILED, "%s: expected layers and dimensions, found %lld and %lld", r->json.path,
                               (long long)layers, (long long)hidden);
    r->n_layers = in->status ? 0 : (size_t)layers;
    r->n_points = r->n_layers + 1;
    r->hidden = in->status ? 0 : (size_t)hidden;
    r->model = text(in, root, "model", "");
    model_name_short(r->model, r->name);
    r->pairs = text(in, root, "pairs", "");
    r->tap = text(in, root, "tap", "resid");
    r->order = text(in, root, "order", "");
    r->dtype = text(in, root, "dtype", "");
    r->numerics = text(in, root, "numerics", "");
    r->n_pairs = number(in, root, "n_pairs");
    r->seed = number(in, root, "seed");
    ResultNode sigma = part(in, root, "sigma"), fdr = part(in, root, "fdr");
    r->corpus = sigma.json ? text(in, &sigma, "corpus", "") : "";
    r->level = fdr.json ? number(in, &fdr, "level") : NAN;
    r->n_tested = fdr.json ? number(in, &fdr, "n_tested") : NAN;
    r->n_rejected = fdr.json ? number(in, &fdr, "n_rejected") : NAN;
    r->threshold = fdr.json ? number(in, &fdr, "threshold") : NAN;
    r->n_rejected_any_dependence = fdr.json ? number(in, &fdr, "n_rejected_any_dependence") : NAN;
    r->n_claims = fdr.json ? number(in, &fdr, "n_claims") : NAN;
}

static void read_contrasts(Reader *in, const ResultNode *root)
{
    DiffView *r = in->r;
    ResultNode list = part(in, root, "contrast"), item = {0};
    r->contrasts = take(in, count_items(in, &list), sizeof *r->contrasts);
    while (each(in, &list, &item)) {
        DiffViewContrast *c = &r->contrasts[r->n_contrasts++];
        c->position = text(in, &item, "position", "");
        c->curve = text(in, &item, "curve", "norm");
        c->difference = series(in, &item, "difference");
        c->lo = series(in, &item, "lo");
        c->hi = series(in, &item, "hi");
        c->p = series(in, &item, "p");
    }
}

bool diff_view_is_one(const char *path)
{
    return file_is_dir(path) ? file_exists_in(path, "diff.json") : strcmp(file_basename(path), "diff.json") == 0;
}

int diff_view_open(const char *path, DiffView *out, Error *e)
{
    *out = (DiffView){0};
    Reader in = {.r = out, .e = e};
    char *json = file_is_dir(path) ? file_join(path, "diff.json") : strdup(path), *tensors = NULL;
    size_t len = json ? strlen(json) - strlen(file_basename(json)) : 0;
    out->dir = json ? arena_strndup(&out->arena, len ? json : ".", len > 1 ? len - 1 : 1) : NULL;
    tensors = out->dir ? file_join(out->dir, "diff.safetensors") : NULL;
    if (!tensors)
        in.status = error_set(e, STATUS_FAILED, "%s: no memory", path);
    if (!in.status)
        in.status = result_file_open(json, "strata.diff/1", &out->json, e);
    if (!in.status) {
        const ResultNode *root = &out->json.root;
        ResultNode list, item = {0};
        read_head(&in, root);
        if (!in.status)
            in.status = result_child(root, "categories", &list, e);
        if (!in.status)
            out->categories = take(&in, count_items(&in, &list), sizeof *out->categories);
        while (!in.status && each(&in, &list, &item))
            read_category(&in, &item, &out->categories[out->n_categories++]);
        read_contrasts(&in, root);
    }
    if (!in.status && file_exists(tensors))
        in.status = tensor_file_open(tensors, &out->tensors, e);
    free(json);
    free(tensors);
    if (in.status)
        diff_view_close(out);
    return in.status;
}

void diff_view_close(DiffView *r)
{
    result_file_close(&r->json);
    tensor_file_close(&r->tensors);
    arena_free(&r->arena);
    *r = (DiffView){0};
}

const DiffViewCurve *diff_view_curve(const DiffViewPosition *p, const char *name)
{
    for (size_t i = 0; i < p->n_curves; i++)
        if (strcmp(p->curves[i].name, name) == 0)
            return &p->curves[i];
    return NULL;
}

const DiffViewPosition *diff_view_position(const DiffViewCategory *c, const char *name)
{
    for (size_t i = 0; i < c->n_positions; i++)
        if (strcmp(c->positions[i].name, name) == 0)
            return &c->positions[i];
    return NULL;
}

const DiffViewContrast *diff_view_contrast(const DiffView *r, const char *position, const char *curve)
{
    for (size_t i = 0; i < r->n_contrasts; i++)
        if (strcmp(r->contrasts[i].position, position) == 0 && strcmp(r->contrasts[i].curve, curve) == 0)
            return &r->contrasts[i];
    return NULL;
}

const float *diff_view_tensor(const DiffView *r, const char *kind, const char *category, const char *position)
{
    char name[512];
    int n =
        category ? snprintf(name, sizeof name, "%s.%s.%s", kind, category, position) : snprintf(name, sizeof name, "%s", kind);
    const Tensor *t = n > 0 && (size_t)n < sizeof name ? tensor_file_find(&r->tensors, name) : NULL;
    bool fits = t && t->dtype == DTYPE_F32 && t->n_dims == 2 && t->shape[0] == r->n_points && t->shape[1] == r->hidden;
    return fits && (uintptr_t)t->data % sizeof(float) == 0 ? t->data : NULL; /* ours are aligned; another's header may not be */
}

const char *diff_view_headline(const DiffView *r)
{
    bool all = r->n_categories > 0;
    for (size_t i = 0; i < r->n_categories; i++)
        all = all && diff_view_position(&r->categories[i], "last");
    if (all)
        return "last";
    for (size_t i = 0; i < r->n_categories; i++)
        if (r->categories[i].n_positions)
            return r->categories[i].positions[0].name;
    return "";
}
