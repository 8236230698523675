/* test_audit.c: dumps of transformers (tools/make_audit_faults.py wrote them from the models of tests/data) judged by the audit: no alarm
 * on what is clean, and of each fault the first operation that diverges with the alternative that closes it. */
#include <dirent.h>

#include "engine/base/file.h"
#include "experiments/audit.h"
#include "experiments/studies.h"
#include "kernels/convert.h"
#include "tests/temp_folder.h"
#include "tests/test.h"

#define DUMPS "tests/data/audit/"

typedef struct Case {
    Model model;
    AuditRecord record;
    AuditInputs in;
    AuditReport report;
} Case;

static Pool *pool;

static void open_case(Case *c, const char *model, const char *dump)
{
    Error e = {{0}};
    char path[256];
    memset(c, 0, sizeof *c);
    snprintf(path, sizeof path, "tests/data/models/%s/config.json", model);
    bool first = file_exists(path);
    snprintf(path, sizeof path, "tests/data/%s/%s", first ? "models" : "families", model);
    CHECK_MSG(model_open(path, &c->model, &e) == 0, "%s", e.text);
    snprintf(path, sizeof path, DUMPS "%s.safetensors", dump);
    CHECK_MSG(audit_record_read(path, c->model.traits.vocab, &c->record, &e) == 0, "%s", e.text);
    c->in = (AuditInputs){.model = &c->model,
                          .record = &c->record,
                          .precision = {.store = c->record.store},
                          .how = audit_roundings_of(&c->model.traits),
                          .pool = pool};
}

static void judge_case(Case *c)
{
    Error e = {{0}};
    CHECK_MSG(audit_report_make(&c->in, &c->report, &e) == 0, "%s", e.text);
}

static void close_case(Case *c)
{
    audit_report_free(&c->report);
    audit_record_free(&c->record);
    model_close(&c->model);
}

static const char *first_name(const AuditReport *r)
{
    return r->first < r->n ? r->ops[r->first].out->name : "none";
}

/* clean_MODEL_DTYPE.safetensors, one for every way a family computes. Each array is judged, none is missing. */
static void clean_dumps_raise_no_alarm(void)
{
    size_t n = 0;
    DIR *d = opendir(DUMPS);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char model[128] = {0}, dump[160];
        snprintf(dump, sizeof dump, "%.150s", entry->d_name);
        char *dtype = strrchr(dump, '_'), *end = strstr(dump, ".safetensors");
        if (strncmp(dump, "clean_", 6) != 0 || !end || !dtype)
            continue;
        *end = 0;
        memcpy(model, dump + 6, (size_t)(dtype - dump) - 6);
        Case c;
        open_case(&c, model, dump);
        judge_case(&c);
        CHECK_MSG(c.report.n > 25 && c.report.n_unlisted == 0 && c.report.n_absent == 0,
                  "%s: %zu operations, %zu arrays not judged, %zu operations absent", dump, c.report.n, c.report.n_unlisted,
                  c.report.n_absent);
        CHECK_MSG(c.report.n_diverging == 0 && c.report.first == c.report.n, "%s: %s", dump, first_name(&c.report));
        double worst = c.report.findings[c.report.worst].measure.margin;
        CHECK_MSG(worst > 0 && worst <= 1, "%s: %g", dump, worst);
        close_case(&c);
        n++;
    }
    if (d)
        closedir(d);
    printf("  %zu clean dumps\n", n);
    CHECK(n >= 38);
}

static const struct Fault {
    const char *model, *dump, *op, *closes;
} faults[] = {{"mixtral", "eps_bf16", "L0.attn_norm", "rms_norm_eps 1e-06"},
              {"llama", "theta_odd", "L0.attn.q_rot", "rope_theta 12300 (fitted)"},
              {"llama", "pairing", "L0.attn.q_rot", "pairs (2i, 2i+1)"},
              {"mistral", "window_less", "L0.attn.mix", "window 6 instead of 7"},
              {"mixtral", "router", "L0.mlp.moe", "router weights not normalised"},
              {"gpt2", "bias_gpt2", "L1.mlp.up_proj", "missing bias"},
              {"llama", "gain_point", "L0.attn_norm", "rounded after the gain instead of before it"},
              {"llama", "rope_point", "L0.attn.q_rot", "rotation rounded once, its table in bf16"},
              {"llama", "gate_up_code", "L0.mlp.act", "gate and up exchanged"},
              {"llama", "transposed", "L1.attn.o_proj", "transposed weight"},
              {"gemma2", "logit_softcap", "logits", "no logit softcap"},
              {"gemma2", "gain_offset", "L0.attn_norm", "gain without one"},
              {"olmo2", "post_norm", "L0.attn_post_norm", "no norm"},
              {"granite", "embedding_multiplier", "embed", "no embedding multiplier"},
              {"cohere", "logit_scale_cohere", "logits", "no logit scale"},
              {"qwen3", "qk_norm", "L0.attn.q_norm", "no norm"},
              {"falcon-alibi", "alibi", "L0.attn.mix", "ALiBi added twice"},
              {"olmo", "clip", "L0.attn.q_rot", "queries, keys and values not clipped"},
              {"stablelm", "rotary_dims", "L0.attn.q_rot", "4 rotary dims instead of 2"},
              {"smollm3", "no_rope_layer", "L1.attn.q_rot", "rotated, as other layers are"},
              {"qwen2-moe", "shared_gate", "L0.mlp.moe", "shared expert not gated"},
              {"nemotron", "relu", "L0.mlp.act", "activation relu"},
              {"opt", "positions_opt", "embed", "positions counted from 1"},
              {"phi", "head_bias", "logits", "missing bias"}};

static void faults_are_named_and_closed(void)
{
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        Case c;
        open_case(&c, faults[i].model, faults[i].dump);
        judge_case(&c);
        CHECK_STR(first_name(&c.report), faults[i].op);
        CHECK(c.report.search.n_nearest > 0);
        CHECK_STR(c.report.search.nearest[0].name, faults[i].closes);
        CHECK(c.report.search.nearest[0].margin <= 1);
        CHECK(c.report.search.n_nearest < 2 || strcmp(faults[i].dump, "eps_bf16") == 0 ||
              c.report.search.nearest[1].margin > 1);
        close_case(&c);
    }
}

/* Dumps of code without transformers' attention function lack q_rot and k_rot: the rotation is then part of the mix. */
static void rotation_inside_the_mix(void)
{
    static const char *const dumps[] = {"clean_llama_f32", "theta_odd"};
    for (int i = 0; i < 2; i++) {
        Case c;
        open_case(&c, "llama", dumps[i]);
        for (size_t k = 0; k < c.record.n_tensors; k++)
            if (strstr(c.record.tensors[k].name, "_rot"))
                memcpy(c.record.tensors[k].name, "absent", 7);
        judge_case(&c);
        CHECK_STR(first_name(&c.report), i ? "L0.attn.mix" : "none");
        CHECK(c.report.n == 51 - 6 && c.report.n_unlisted == 6);
        close_case(&c);
    }
}

/* One value of any array moved by a few units in its last place is found, at its place. */
static void one_wrong_value_is_found(void)
{
    static const char *const names[] = {"L0.attn_norm", "L1.attn.v_proj", "L1.attn.k_rot", "L2.attn.mix",
                                        "L2.mlp.act",   "L1.resid_mid",   "final_norm",    "logits"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        Case c;
        open_case(&c, "llama", "clean_llama_f32");
        AuditTensor *t = audit_record_find(&c.record, names[i]);
        size_t at = 3 * t->cols + 5;
        t->v[at] += 1e-4 * (fabs(t->v[at]) + 1);
        judge_case(&c);
        CHECK_STR(first_name(&c.report), names[i]);
        const AuditMeasure *m = &c.report.findings[c.report.first].measure;
        CHECK_MSG(m->row == 3 && m->col == 5 && m->margin > 1, "%s: %zu %zu %g", names[i], m->row, m->col, m->margin);
        t->v[at] = NAN;
        audit_report_free(&c.report);
        judge_case(&c);
        CHECK_STR(first_name(&c.report), names[i]);
        close_case(&c);
    }
}

static void rounding_to_bf16(void)
{
    for (uint32_t i = 0; i < 0x7f80; i += 7) { /* the f32 conversion of kernels/convert.h agrees on every f32 */
        float x = convert_bf16_to_f32((uint16_t)i);
        const float near[] = {x, nextafterf(x * 1.00390625f, 0), x * 1.00390625f, nextafterf(x * 1.00390625f, 2 * x),
                              -x * 1.004f};
        for (size_t k = 0; k < sizeof near / sizeof near[0]; k++) {
            double expected = (double)convert_bf16_to_f32(convert_f32_to_bf16(near[k]));
            if (isfinite(expected))
                CHECK_MSG(audit_to_bf16((double)near[k]) == expected, "%a: %a, expected %a", (double)near[k],
                          audit_to_bf16((double)near[k]), expected);
        }
    }
    CHECK(audit_half_ulp(1, DTYPE_BF16) == 0x1p-8 && audit_half_ulp(1.99, DTYPE_F32) == 0x1p-24);
    CHECK(audit_half_ulp(0, DTYPE_F32) == 0x1p-150);
    Ball tie = audit_round((Ball){1 + 0x1p-8, 0}, DTYPE_BF16); /* f32's own rounding may fall on either side */
    CHECK(tie.c - tie.r == 1 && tie.c + tie.r == 1 + 0x1p-7);
    Ball clear = audit_round((Ball){1 + 0x1p-9, 0}, DTYPE_BF16);
    CHECK(clear.c == 1 && clear.r == 0);
}

static char *run_audit(StrataAuditOptions o, int expected, char *message)
{
    StrataError e = {""};
    char *text = NULL;
    size_t n = 0;
    o.common.out = open_memstream(&text, &n);
    o.common.threads = 1;
    int status = strata_audit(&o, &e);
    fclose(o.common.out);
    CHECK_MSG(status == expected, "%d: %s", status, e.text);
    if (message)
        memcpy(message, e.text, sizeof e.text);
    return text;
}

static void command_says_what_was_found(void)
{
    char message[1024];
    StrataAuditOptions o = {.common = {.model_name = "tests/data/models/mistral"}, .against = DUMPS "window_less.safetensors"};
    char *text = run_audit(o, 1, message);
    CHECK(strstr(text, "first divergence: L0.attn.mix, margin") && strstr(text, "closes with window 6 instead of 7: margin"));
    CHECK(strstr(message, "L0.attn.mix diverges"));
    free(text);
    o.against = DUMPS "clean_mistral_bf16.safetensors";
    o.ids = "3,17,99,45,8,120,64,5,77,31";
    text = run_audit(o, 0, NULL);
    CHECK(strstr(text, "C1: every margin <= 1: 51 operations"));
    free(text);
    o.ids = "3,17,98,45,8,120,64,5,77,31";
    free(run_audit(o, 1, message));
    CHECK(strstr(message, "token 2 is 99, expected 98"));
    o.ids = "3,17";
    free(run_audit(o, 1, message));
    CHECK(strstr(message, "10 tokens, expected 2"));
}

/* Files that are no dumps, or of another model, are refused with what was expected. */
static void hostile_dumps(void)
{
    static const struct {
        const char *header, *says;
        size_t bytes;
    } cases[] = {
        {"{\"embed\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]}}", "ids: expected I64", 8},
        {"{\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", "holds ids alone", 8},
        {"{\"ids\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "ids: expected I64", 8},
        {"{\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
         "\"embed\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[8,16]}}",
         "embed: expected F32 or BF16 [1, columns]", 16},
        {"{\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]},"
         "\"b\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[12,16]}}",
         "expected F32 as the tensors before it", 16},
        {"{\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
         "\"other\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]}}",
         "holds no operation", 12},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char file[1024] = {0};
        size_t length = strlen(cases[i].header);
        file[0] = (unsigned char)length;
        file[1] = (unsigned char)(length >> 8);
        memcpy(file + 8, cases[i].header, length);
        write_temp("dump.safetensors", file, 8 + length + cases[i].bytes);
        char *path = temp_path("dump.safetensors"), message[1024];
        StrataAuditOptions o = {.common = {.model_name = "tests/data/models/llama"}, .against = path};
        free(run_audit(o, 1, message));
        CHECK_MSG(strstr(message, cases[i].says), "%s, expected %s", message, cases[i].says);
        free(path);
    }
}

int main(void)
{
    Error e = {{0}};
    if (!temp_begin() || pool_open(2, &pool, &e))
        return 1;
    RUN(clean_dumps_raise_no_alarm);
    RUN(faults_are_named_and_closed);
    RUN(rotation_inside_the_mix);
    RUN(one_wrong_value_is_found);
    RUN(rounding_to_bf16);
    RUN(command_says_what_was_found);
    RUN(hostile_dumps);
    pool_close(pool);
    temp_end();
    return test_finish();
}
