/* pair_api.c: see pair_api.h. What was answered is the state: pairs, counts of fruitless requests, and what to avoid are made anew from the
 * partial file's replies, so that a run that goes on is where it was. */
#include "experiments/pair_api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/http.h"
#include "engine/base/progress.h"
#include "experiments/pair_source.h"

enum {
    BATCH = 20,         /* pairs a request: a reply of some 1500 tokens */
    FRUITLESS = 3,      /* requests of a category without a new pair: it ends */
    SPARE_REQUESTS = 5, /* beyond three times what would do if every pair held */
    AVOIDED = 60,       /* pairs of words, the last ones, that a prompt asks to leave alone */
    MAX_REPLY_BYTES = 1 << 24,
    MAX_PARTIAL_BYTES = 1 << 30,
};

static const char default_base[] = "https://api.openai.com/v1";

typedef enum Format { FORMAT_SCHEMA, FORMAT_OBJECT, FORMAT_NONE } Format;
static const char *const format_names[] = {"json_schema", "json_object", "none"};

typedef struct Api {
    PairsRun *run;
    const char *base;
    StrBuf url, authorization, system, prompts[PAIR_N_CATEGORIES];
    HttpClient *client;
    FILE *partial;
    StrBuf replies; /* of meta.json: the partial file's lines with commas between */
    Format format;
    size_t counts[PAIR_N_CATEGORIES]; /* kept */
    size_t n_requests[PAIR_N_CATEGORIES], n_fruitless[PAIR_N_CATEGORIES];
    size_t n_useless; /* replies in a row that held no pair at all */
    PairCategory asked;
    Progress progress;
    char waiting[400];
    Error *e;
} Api;

static int no_memory(Error *e)
{
    return error_set(e, STATUS_FAILED, "no memory for the requests of pairs");
}

static const char *or_null(const char *s)
{
    return s && s[0] ? s : NULL;
}

static int prepare_prompts(const PairsRun *run, StrBuf *system, StrBuf prompts[PAIR_N_CATEGORIES], Error *e)
{
    int status = pair_prompts_read(run->o->templates, "system", system, e);
    for (int c = 0; c < PAIR_N_CATEGORIES && !status; c++)
        if (run->wanted[c])
            status = pair_prompts_read(run->o->templates, pair_category_name((PairCategory)c), &prompts[c], e);
    return status;
}

static size_t n_planned(const PairsRun *run)
{
    return (run->per_category + BATCH - 1) / BATCH;
}

/* {n} is the number of pairs, {avoid} what was used already. */
static void put_prompt(const StrBuf *prompt, size_t n, const StrBuf *avoid, StrBuf *out)
{
    for (const char *s = prompt->data; *s;) {
        if (strncmp(s, "{n}", 3) == 0) {
            strbuf_printf(out, "%zu", n);
            s += 3;
        } else if (strncmp(s, "{avoid}", 7) == 0) {
            strbuf_append(out, avoid->data, avoid->len);
            s += 7;
        } else {
            strbuf_putc(out, *s++);
        }
    }
    while (out->len && out->data[out->len - 1] == '\n')
        out->data[--out->len] = 0;
}

static void put_avoid(const PairSet *set, PairCategory category, StrBuf *out)
{
    PairCounts seen = {0};
    size_t n = 0;
    for (size_t i = set->n_pairs; i-- > 0 && n < AVOIDED;) {
        const Pair *p = &set->pairs[i];
        StrBuf key = {0};
        if (p->category != category)
            continue;
        pair_set_word_key(p, &key);
        size_t *count = key.failed ? NULL : pair_counts_at(&seen, key.data, key.len);
        if (count && (*count)++ == 0) {
            strbuf_puts(out, n++ ? ", " : "\n\nThese pairs of words were used already, choose others: ");
            strbuf_printf(out, "%s/%s", p->words[0], p->words[1]);
        }
        strbuf_free(&key);
    }
    strbuf_puts(out, n ? "." : "");
    pair_counts_free(&seen);
}

static void put_format(Format f, const char *category, StrBuf *out)
{
    if (f == FORMAT_OBJECT)
        strbuf_puts(out, ", \"response_format\": {\"type\": \"json_object\"}");
    if (f == FORMAT_SCHEMA)
        strbuf_printf(
            out,
            ", \"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": \"pairs\", \"strict\": true, "
            "\"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"pairs\"], \"properties\": "
            "{\"pairs\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"additionalProperties\": false, "
            "\"required\": "
            "[\"category\", \"a\", \"b\", \"pattern\", \"onset_word\"], \"properties\": {\"category\": {\"type\": \"string\", "
            "\"enum\": [\"%s\"]}, \"a\": {\"type\": \"string\"}, \"b\": {\"type\": \"string\"}, \"pattern\": {\"type\": "
            "\"string\"}, \"onset_word\": {\"type\": \"string\"}}}}}}}}",
            category);
}

static void put_request(const Api *a, const StrBuf *prompt, StrBuf *out)
{
    strbuf_puts(out, "{\"model\": ");
    strbuf_json_string(out, a->run->o->api_model, strlen(a->run->o->api_model));
    if (or_null(a->run->o->temperature))
        strbuf_json_field_number(out, "temperature", strtod(a->run->o->temperature, NULL));
    strbuf_puts(out, ", \"messages\": [{\"role\": \"system\", \"content\": ");
    strbuf_json_string(out, a->system.data, a->system.len);
    strbuf_puts(out, "}, {\"role\": \"user\", \"content\": ");
    strbuf_json_string(out, prompt->data, prompt->len);
    strbuf_puts(out, "}]");
    put_format(a->format, pair_category_name(a->asked), out);
    strbuf_puts(out, "}");
}

/* One item of a reply, as a row of the user's own. */
static int take_item(void *context, const JsonValue *item, Error *e)
{
    Api *a = context;
    const char *category = json_text(json_get(item, "category")), *pattern = json_text(json_get(item, "pattern")),
               *name = pair_category_name(a->asked);
    StrBuf template_id = {0};
    strbuf_printf(&template_id, "api_%s_", name);
    for (const char *s = pattern ? pattern : "unnamed"; *s && template_id.len < 100; s++)
        strbuf_putc(&template_id, *s == ' ' ? '_' : *s);
    if (template_id.failed)
        return no_memory(e);
    PairFields f = {.a = json_text(json_get(item, "a")),
                    .b = json_text(json_get(item, "b")),
                    .category = name,
                    .template_id = template_id.data,
                    .onset_word = json_text(json_get(item, "onset_word")),
                    .onset_byte = -1,
                    .b_is_wrong = a->asked == PAIR_TENSE || a->asked == PAIR_ARTICLE || a->asked == PAIR_PREPOSITION ||
                                  a->asked == PAIR_NUMBER || a->asked == PAIR_SPELLING};
    int status;
    if (category && strcmp(category, name) != 0) {
        char reason[200];
        const PairCandidate c = {.a = f.a,
                                 .b = f.b,
                                 .a_len = f.a ? strlen(f.a) : 0,
                                 .b_len = f.b ? strlen(f.b) : 0,
                                 .template_id = f.template_id,
                                 .template_len = template_id.len};
        snprintf(reason, sizeof reason, "the model wrote it as \"%.40s\", asked for \"%s\"", category, name);
        status = pair_set_reject(&a->run->set, &c, name, reason, e);
    } else {
        status = pair_source_take(a->run, &f, a->counts, e);
    }
    strbuf_free(&template_id);
    return status;
}

/* A reply's pairs into the set. A body that is not what an endpoint sends holds none. */
static int use_reply(Api *a, const char *body, size_t len)
{
    Arena tree = {0};
    const JsonValue *answer = NULL;
    Error why = {""};
    size_t before = a->counts[a->asked], n = 0;
    const char *content = json_parse(body, len, "answer", &tree, &answer, &why) ? NULL : pair_reply_content(answer, &why);
    int status = STATUS_OK;
    if (content)
        status = pair_reply_items(content, strlen(content), take_item, a, &n, a->e);
    arena_free(&tree);
    a->n_requests[a->asked]++;
    a->n_fruitless[a->asked] = a->counts[a->asked] > before ? 0 : a->n_fruitless[a->asked] + 1;
    a->n_useless = n ? 0 : a->n_useless + 1;
    return status;
}

static void put_date(StrBuf *out)
{
    time_t now = time(NULL);
    struct tm t;
    char text[32] = "";
    if (gmtime_r(&now, &t))
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &t);
    strbuf_json_field_text(out, "date", text);
}

/* One line of the partial file, on disk before it is used. */
static int append_line(Api *a, const StrBuf *line)
{
    if (line->failed)
        return no_memory(a->e);
    if (fwrite(line->data, 1, line->len, a->partial) != line->len || fputc('\n', a->partial) == EOF || fflush(a->partial) ||
        fsync(fileno(a->partial)))
        return error_set(a->e, STATUS_FAILED, "%s: cannot write: %s", a->run->partial_path.data, strerror(errno));
    return STATUS_OK;
}

static void add_reply(Api *a, const char *line, size_t len)
{
    strbuf_puts(&a->replies, a->replies.len ? ",\n" : "");
    strbuf_append(&a->replies, line, len);
}

static int keep_reply(Api *a, const StrBuf *prompt, const HttpResponse *r)
{
    StrBuf line = {0};
    strbuf_puts(&line, "{\"category\": ");
    strbuf_json_string(&line, pair_category_name(a->asked), strlen(pair_category_name(a->asked)));
    put_date(&line);
    strbuf_json_field_text(&line, "response_format", format_names[a->format]);
    strbuf_json_field(&line, "prompt");
    strbuf_json_string(&line, prompt->data, prompt->len);
    strbuf_json_field(&line, "reply");
    strbuf_json_string(&line, r->body.data ? r->body.data : "", r->body.len);
    strbuf_puts(&line, "}");
    int status = append_line(a, &line);
    if (!status)
        add_reply(a, line.data, line.len);
    strbuf_free(&line);
    return status;
}

/* ---- going on ---- */

/* What must be the same for replies to belong together. */
static void put_head(const Api *a, StrBuf *out)
{
    strbuf_puts(out, "{\"schema\": \"strata.pairs.partial.1\"");
    strbuf_json_field_text(out, "api_base", a->base);
    strbuf_json_field_text(out, "api_model", a->run->o->api_model);
    strbuf_json_field_text(out, "temperature", or_null(a->run->o->temperature));
    strbuf_puts(out, "}");
}

static int use_line(Api *a, const char *line, size_t len)
{
    Arena tree = {0};
    const JsonValue *v = NULL;
    int status = json_parse(line, len, "reply", &tree, &v, a->e);
    const char *name = status ? NULL : json_text(json_get(v, "category"));
    const JsonValue *reply = json_get(v, "reply");
    int category = name ? pair_category_find(name) : -1;
    if (status || category < 0 || !reply || reply->kind != JSON_STRING) {
        status = error_set(a->e, STATUS_FAILED, "%s: a line that strata pairs did not write; --force starts over",
                           a->run->partial_path.data);
    } else {
        add_reply(a, line, len);
        a->asked = (PairCategory)category;
        status = use_reply(a, reply->string, reply->len);
    }
    arena_free(&tree);
    return status;
}

/* Reads what an earlier run left. A last line without its end was being written when that run was killed: it is cut off. */
static int resume(Api *a)
{
    const char *path = a->run->partial_path.data;
    StrBuf file = {0}, head = {0};
    size_t used = 0;
    int status = file_exists(path) && !a->run->o->force ? file_read(path, MAX_PARTIAL_BYTES, &file, a->e) : STATUS_OK;
    put_head(a, &head);
    for (size_t line = 0; !status && used < file.len; line++) {
        const char *at = file.data + used, *newline = memchr(at, '\n', file.len - used);
        if (!newline)
            break;
        size_t n = (size_t)(newline - at);
        if (line > 0)
            status = use_line(a, at, n);
        else if (n != head.len || memcmp(at, head.data, n) != 0)
            status = error_set(a->e, STATUS_USAGE,
                               "%s: replies of another endpoint, model or temperature (%.200s); --force starts over, --output "
                               "names another file",
                               path, at);
        used += n + 1;
    }
    if (!status && !(a->partial = fopen(path, used ? "r+" : "w")))
        status = error_set(a->e, STATUS_FAILED, "%s: %s", path, strerror(errno));
    if (!status && used && (ftruncate(fileno(a->partial), (off_t)used) || fseek(a->partial, 0, SEEK_END)))
        status = error_set(a->e, STATUS_FAILED, "%s: %s", path, strerror(errno));
    if (!status && !used)
        status = append_line(a, &head);
    a->n_useless = 0; /* what failed then may work now */
    memset(a->n_fruitless, 0, sizeof a->n_fruitless);
    strbuf_free(&file);
    strbuf_free(&head);
    return status;
}

/* ---- asking ---- */

static void on_wait(void *context, const char *text)
{
    Api *a = context;
    snprintf(a->waiting, sizeof a->waiting, "pairs (waiting: %s)", text);
    a->progress.label = a->waiting;
    a->progress.last_shown_s = 0;
    progress_update(&a->progress, a->progress.done);
    a->progress.label = "pairs";
}

static int send_request(Api *a, const StrBuf *prompt, HttpResponse *r)
{
    static const char *const headers[] = {"Content-Type: application/json", "Accept: application/json"};
    for (;;) {
        StrBuf body = {0};
        put_request(a, prompt, &body);
        if (body.failed)
            return no_memory(a->e);
        const HttpRequest q = {.url = a->url.data,
                               .headers = headers,
                               .n_headers = 2,
                               .authorization = a->authorization.data,
                               .body = body.data,
                               .body_bytes = body.len,
                               .max_bytes = MAX_REPLY_BYTES,
                               .idle_s = 180, /* a model thinks before it sends its first byte */
                               .attempt_s = 600,
                               .on_wait = on_wait,
                               .wait_context = a,
                               .stop = a->run->o->common.stop};
        int status = http_send(a->client, &q, r, a->e);
        strbuf_free(&body);
        if (!status || (r->status != 400 && r->status != 422) || a->format == FORMAT_NONE)
            return status;
        a->format++; /* the server may not know this form of output */
        http_response_free(r);
    }
}

static int ask_once(Api *a)
{
    const PairsRun *run = a->run;
    StrBuf prompt = {0}, avoid = {0};
    HttpResponse r = {0};
    put_avoid(&run->set, a->asked, &avoid);
    put_prompt(&a->prompts[a->asked], BATCH, &avoid, &prompt);
    int status = prompt.failed || avoid.failed ? no_memory(a->e) : send_request(a, &prompt, &r);
    if (!status)
        status = keep_reply(a, &prompt, &r);
    if (!status)
        status = use_reply(a, r.body.data ? r.body.data : "", r.body.len);
    if (!status && a->n_useless == FRUITLESS)
        status = error_set(a->e, STATUS_FAILED, "%s: %d answers in a row hold no pair as JSON; the last one begins \"%.120s\"",
                           a->base, FRUITLESS, r.body.data ? r.body.data : "");
    http_response_free(&r);
    strbuf_free(&prompt);
    strbuf_free(&avoid);
    return status;
}

static int ask_all(Api *a)
{
    PairsRun *run = a->run;
    size_t done = 0, wanted = 0;
    int status = STATUS_OK;
    for (int c = 0; c < PAIR_N_CATEGORIES; c++)
        if (run->wanted[c]) {
            done += a->counts[c];
            wanted += run->per_category;
        }
    progress_begin(&a->progress, "pairs", "pairs", (double)wanted, (double)done, run->o->common.quiet);
    for (int c = 0; c < PAIR_N_CATEGORIES && !status; c++)
        while (run->wanted[c] && a->counts[c] < run->per_category && a->n_fruitless[c] < FRUITLESS &&
               a->n_requests[c] < 3 * n_planned(run) + SPARE_REQUESTS && !status) {
            size_t before = a->counts[c];
            a->asked = (PairCategory)c;
            status = ask_once(a);
            done += a->counts[c] - before;
            progress_update(&a->progress, (double)done);
        }
    progress_end(&a->progress);
    if (status)
        error_prefix(a->e, status, "%zu pairs so far, kept in %s: the same command goes on", run->set.n_pairs,
                     run->partial_path.data);
    return status;
}

static void put_meta(Api *a)
{
    StrBuf *m = &a->run->meta;
    strbuf_json_field_text(m, "api_base", a->base);
    strbuf_json_field_text(m, "api_model", a->run->o->api_model);
    if (or_null(a->run->o->temperature))
        strbuf_json_field_number(m, "temperature", strtod(a->run->o->temperature, NULL));
    else
        strbuf_json_field_text(m, "temperature", NULL);
    put_date(m);
    strbuf_json_field_text(m, "response_format", format_names[a->format]);
    strbuf_json_field(m, "prompts");
    strbuf_puts(m, "{\"system\": ");
    strbuf_json_string(m, a->system.data, a->system.len);
    for (int c = 0; c < PAIR_N_CATEGORIES; c++)
        if (a->run->wanted[c])
            strbuf_json_field_text(m, pair_category_name((PairCategory)c), a->prompts[c].data);
    strbuf_puts(m, "}, \"replies\": [");
    strbuf_append(m, a->replies.data, a->replies.len);
    strbuf_puts(m, "]");
}

/* http://localhost, http://127.x.y.z or http://[::1], with a port or a path or nothing behind it */
static bool is_loopback(const char *base)
{
    if (strncmp(base, "http://", 7) != 0)
        return false;
    const char *host = base + 7, *end = host;
    if (strncmp(host, "localhost", 9) == 0)
        end = host + 9;
    else if (strncmp(host, "[::1]", 5) == 0)
        end = host + 5;
    else if (strncmp(host, "127.", 4) == 0)
        end = host + strspn(host, "0123456789.");
    return end > host && (*end == 0 || *end == ':' || *end == '/');
}

/* A key is not sent in the clear to another machine. */
static int prepare_key(Api *a)
{
    const char *strata = or_null(getenv("STRATA_API_KEY")), *key = strata ? strata : or_null(getenv("OPENAI_API_KEY"));
    if (strpbrk(a->base, "@?#"))
        return error_set(a->e, STATUS_USAGE, "--api_base: expected an address without user name and query, as https://host/v1");
    if (!key && strcmp(a->base, default_base) == 0)
        return error_set(a->e, STATUS_USAGE,
                         "--source api: %s wants a key: set OPENAI_API_KEY or STRATA_API_KEY in the environment", a->base);
    if (key && strncmp(a->base, "https://", 8) != 0 && !is_loopback(a->base))
        return error_set(
            a->e, STATUS_USAGE,
            "--api_base: %s would send the key in the clear: use https, or unset OPENAI_API_KEY and STRATA_API_KEY", a->base);
    if (key)
        strbuf_printf(&a->authorization, "Bearer %s", key);
    return a->authorization.failed ? no_memory(a->e) : STATUS_OK;
}

static int check_options(const StrataPairsOptions *o, Error *e)
{
    if (!or_null(o->api_model))
        return error_set(e, STATUS_USAGE, "--api_model is missing: --source api needs the name of a model of the endpoint");
    if (or_null(o->temperature)) {
        char *end;
        double t = strtod(o->temperature, &end);
        if (*end || end == o->temperature || !(t >= 0 && t <= 2) ||
            strspn(o->temperature, "0123456789.") != strlen(o->temperature))
            return error_set(e, STATUS_USAGE, "--temperature: \"%s\", expected a number from 0 to 2", o->temperature);
    }
    return STATUS_OK;
}

static void api_free(Api *a)
{
    if (a->partial)
        fclose(a->partial);
    http_close(a->client);
    strbuf_free(&a->url);
    strbuf_free(&a->authorization);
    strbuf_free(&a->system);
    strbuf_free(&a->replies);
    for (int c = 0; c < PAIR_N_CATEGORIES; c++)
        strbuf_free(&a->prompts[c]);
}

int pair_api_fill(PairsRun *run, Error *e)
{
    Api a = {.run = run, .base = or_null(run->o->api_base) ? run->o->api_base : default_base, .e = e};
    size_t n = strlen(a.base);
    strbuf_printf(&a.url, "%.*s/chat/completions", (int)(n && a.base[n - 1] == '/' ? n - 1 : n), a.base);
    int status = check_options(run->o, e);
    if (!status)
        status = prepare_key(&a);
    if (!status)
        status = prepare_prompts(run, &a.system, a.prompts, e);
    if (!status)
        status = http_open(&a.client, e);
    if (!status)
        status = resume(&a);
    if (!status)
        status = ask_all(&a);
    if (!status)
        put_meta(&a);
    api_free(&a);
    return status;
}

void pair_api_finish(const PairsRun *run)
{
    unlink(run->partial_path.data);
}

int pair_api_dry_run(const PairsRun *run, FILE *out, Error *e)
{
    StrBuf system = {0}, prompts[PAIR_N_CATEGORIES] = {{0}}, text = {0}, none = {0};
    int status = prepare_prompts(run, &system, prompts, e);
    size_t n_categories = 0;
    strbuf_printf(&text, "---- system ----\n%s", system.data ? system.data : "");
    for (int c = 0; c < PAIR_N_CATEGORIES && !status; c++)
        if (run->wanted[c]) {
            StrBuf prompt = {0};
            put_prompt(&prompts[c], BATCH, &none, &prompt);
            strbuf_printf(&text, "\n---- %s ----\n%s\n", pair_category_name((PairCategory)c), prompt.data ? prompt.data : "");
            strbuf_free(&prompt);
            n_categories++;
        }
    strbuf_printf(&text, "\n%zu requests if every pair holds, %zu at most, to %s/chat/completions. Nothing was sent.\n",
                  n_categories * n_planned(run), n_categories * (3 * n_planned(run) + SPARE_REQUESTS),
                  or_null(run->o->api_base) ? run->o->api_base : default_base);
    if (!status && text.failed)
        status = no_memory(e);
    if (!status && out)
        fwrite(text.data, 1, text.len, out);
    strbuf_free(&text);
    strbuf_free(&system);
    for (int c = 0; c < PAIR_N_CATEGORIES; c++)
        strbuf_free(&prompts[c]);
    return status;
}
