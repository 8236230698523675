/* sweep_options.c: see sweep_options.h. */
#include "experiments/sweep_options.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"

enum { RUN_MAX_BYTES = 64 << 20 };

int sweep_options_open(const char *dir, StrBuf *text, Arena *arena, const JsonValue **run, Error *e)
{
    StrBuf path = {0};
    strbuf_printf(&path, "%s/run.json", dir);
    int status =
        path.failed ? error_set(e, STATUS_FAILED, "%s: out of memory", dir) : file_read(path.data, RUN_MAX_BYTES, text, e);
    if (!status)
        status = json_parse(text->data, text->len, path.data, arena, run, e);
    if (!status && !json_is_string(json_get(*run, "schema"), "strata.run/1"))
        status = error_set(e, STATUS_FAILED, "%s: expected schema strata.run/1, found another file", path.data);
    if (!status && !json_is_string(json_get(*run, "state"), "complete"))
        status = error_set(e, STATUS_FAILED, "%s is not finished; `strata status %s` tells how far it is", dir, dir);
    strbuf_free(&path);
    return status;
}

static uint64_t count_of(const char *text)
{
    return text ? strtoull(text, NULL, 10) : 0;
}

int sweep_options_read(const JsonValue *run, const char *dir, const StrataCommon *given, StrataSweepOptions *o, Error *e)
{
    static const char *const needed[] = {"dataset", "split", "experiment", "orders", "protocol", "max_samples", "context",
                                         "bos",     "dtype", "numerics",   "rope",   "schedule", "seed"};
    static const char *const types[] = {"wiki-text-2", "wiki-text-103", "gpt2-output-dataset", "bookcorpus"};
    const JsonValue *pairs = json_get(run, "fingerprint"), *notes = json_get(run, "options");
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!json_text(json_get(pairs, needed[i])))
            return error_set(e, STATUS_FAILED, "%s/run.json: fingerprint.%s is missing", dir, needed[i]);
    if (!json_text(json_get(notes, "model_name")) || !json_text(json_get(notes, "dataset_path")))
        return error_set(e, STATUS_FAILED, "%s/run.json: options.model_name or options.dataset_path is missing", dir);
    *o = (StrataSweepOptions){.common = *given};
#define PAIR(key) json_text(json_get(pairs, key))
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(PAIR("dataset"), types[i]) == 0)
            o->dataset_type = types[i];
    o->dataset_path = json_text(json_get(notes, "dataset_path"));
    o->split = PAIR("split");
    o->protocol = PAIR("protocol");
    o->schedule = PAIR("schedule");
    o->max_samples = count_of(PAIR("max_samples"));
    if (strcmp(PAIR("experiment"), "orders") == 0)
        o->orders = PAIR("orders");
    else
        o->experiment = PAIR("experiment");
    StrataCommon *c = &o->common;
    c->model_name = c->model_name ? c->model_name : json_text(json_get(notes, "model_name"));
    c->bos = PAIR("bos");
    c->dtype = PAIR("dtype");
    c->numerics = PAIR("numerics");
    c->rope = PAIR("rope");
    c->context = (int)count_of(PAIR("context"));
    c->seed = count_of(PAIR("seed"));
#undef PAIR
    return STATUS_OK;
}
