/* test_audit_ledger.c: entries of finished sweeps computed again, a changed one found; the verdict on the difference of two orders. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/sha256.h"
#include "engine/ledger.h"
#include "experiments/result_file.h"
#include "experiments/studies.h"
#include "tests/temp_folder.h"
#include "tests/test.h"

enum { ROWS = 24 };

static char *rows_path;

/* Rows of ids, so that no tokenizer is needed. */
static void write_rows(void)
{
    StrBuf text = {0};
    for (int r = 0; r < ROWS; r++) {
        strbuf_puts(&text, "{\"ids\": [3");
        for (int i = 1; i < 8 + r % 5; i++)
            strbuf_printf(&text, ", %d", (r * 31 + i * i * 7 + i) % 120);
        strbuf_puts(&text, "]}\n");
    }
    write_temp("rows.jsonl", (unsigned char *)text.data, text.len);
    strbuf_free(&text);
    rows_path = temp_path("rows.jsonl");
}

static char *run_audit(StrataAuditOptions o, int expected, char *message)
{
    StrataError e = {""};
    char *text = NULL;
    size_t n = 0;
    o.common.out = open_memstream(&text, &n);
    o.common.threads = 2;
    o.common.quiet = 1;
    int status = strata_audit(&o, &e);
    fclose(o.common.out);
    CHECK_MSG(status == expected, "%d: %s", status, e.text);
    if (message)
        memcpy(message, e.text, sizeof e.text);
    return text;
}

/* The folder of a sweep in one arithmetic. */
static char *sweep(const char *numerics, const char *experiment)
{
    StrataError e = {""};
    char *out = temp_path(numerics), *dir = malloc(512);
    StrataSweepOptions o = {
        .common = {.model_name = "tests/data/models/mixtral", .numerics = numerics, .threads = 2, .quiet = 1},
        .dataset_path = rows_path,
        .experiment = experiment,
        .output_dir = out,
        .max_samples = ROWS};
    CHECK_MSG(strata_sweep(&o, &e) == 0, "%s", e.text);
    snprintf(dir, 512, "%s/%s/mixtral_rows_n%d", out, experiment, ROWS);
    for (char *colon; (colon = strchr(dir, ':'));)
        *colon = '_';
    free(out);
    return dir;
}

/* Adds `by` to the loss of one entry, in place, and has the metadata carry the changed array's sha256: only computing finds it. */
static void change_loss(const char *dir, size_t order, size_t token, float by)
{
    Sha256 sha;
    char hex[65];
    Error e = {{0}};
    StrBuf file = {0};
    LedgerView v = {0};
    char *path = file_join(dir, "ledger.safetensors");
    CHECK_MSG(ledger_view_open(path, &v, &e) == 0, "%s", e.text);
    size_t first = (size_t)((const char *)v.nll - (const char *)v.map), bytes = 4 * v.n_orders * v.n_tokens;
    size_t at = first + 4 * (order * v.n_tokens + token);
    float loss = (float)ledger_view_nll(&v, order, token) + by;
    ledger_view_close(&v);
    CHECK(file_read(path, 1 << 24, &file, &e) == 0);
    memcpy(file.data + at, &loss, sizeof loss);
    sha256_begin(&sha);
    sha256_update(&sha, file.data + first, bytes);
    sha256_end(&sha, hex);
    char *digest = memmem(file.data, file.len, "\"sha256.nll\":\"", 14);
    CHECK(digest != NULL);
    if (digest)
        memcpy(digest + 14, hex, 64);
    CHECK(file_write_atomic(path, file.data, file.len, &e) == 0);
    strbuf_free(&file);
    free(path);
}

static void entries_are_what_they_were(void)
{
    static const char *const numerics[] = {"fast", "stable", "exact", "ref64"};
    for (size_t i = 0; i < 4; i++) {
        char *dir = sweep(numerics[i], i ? "exchange" : "greedy:2");
        StrataAuditOptions o = {.ledger = dir, .sample = 60};
        char *text = run_audit(o, 0, NULL);
        CHECK_MSG(strstr(text, "C1, every margin <= 1: yes") && strstr(text, "60 of"), "%s", text);
        CHECK(i == 0 || strstr(text, "60 of 60 entries are what"));
        free(text);
        free(dir);
    }
}

/* 1e-3 nats is far beyond rounding; one unit in the last place is not, but where bits are promised it is found all the same. */
static void a_changed_entry_is_found(void)
{
    char message[1024], *dir = sweep("exact", "removal");
    StrataAuditOptions o = {.ledger = dir, .sample = 100000};
    change_loss(dir, 1, 5, 1e-3F);
    char *text = run_audit(o, 1, message);
    CHECK(strstr(text, "C1, every margin <= 1: NO") && strstr(message, "are not what this model gives"));
    CHECK(strstr(text, "removal_0"));
    free(text);
    free(dir);
    dir = sweep("stable", "removal"); /* a loss of 4 to 8 nats is spaced 4.8e-7, one of 2 to 4 half of that */
    o.ledger = dir;
    change_loss(dir, 2, 9, 6e-7F);
    text = run_audit(o, 1, message);
    CHECK(strstr(text, "C1, every margin <= 1: yes") && strstr(message, "1 of"));
    free(text);
    free(dir);
}

/* One bit flipped in two arrays, one of which no margin looks at. */
static void a_damaged_array_is_named(void)
{
    Error e = {{0}};
    StrBuf file = {0};
    LedgerView v = {0};
    char message[1024], *dir = sweep("exact", "removal"), *path = file_join(dir, "ledger.safetensors");
    CHECK_MSG(ledger_view_open(path, &v, &e) == 0, "%s", e.text);
    CHECK_MSG(ledger_view_verify(&v, path, &e) == 0, "%s", e.text);
    size_t kl = (size_t)((const char *)v.kl - (const char *)v.map), last = 4 * v.n_orders * v.n_tokens - 1;
    size_t top1 = (size_t)((const char *)v.top1 - (const char *)v.map);
    ledger_view_close(&v);
    CHECK(file_read(path, 1 << 24, &file, &e) == 0);
    file.data[kl + last] ^= 1;
    file.data[top1] ^= 1;
    CHECK(file_write_atomic(path, file.data, file.len, &e) == 0);
    StrataAuditOptions o = {.ledger = dir, .sample = 10};
    free(run_audit(o, 1, message));
    CHECK_MSG(strstr(message, "damaged: kl, top1:"), "%s", message);
    strbuf_free(&file);
    free(path);
    free(dir);
}

static void what_is_no_finished_sweep(void)
{
    char message[1024];
    StrataAuditOptions o = {.ledger = "tests/data"};
    free(run_audit(o, 1, message));
    CHECK(strstr(message, "run.json"));
}

/* The difference of the ledger's own losses is the verdict's. */
static void two_orders(void)
{
    char *json = temp_path("orders.json"), message[1024];
    const char *specs[] = {"0-2", "0,2"}, *same[] = {"0-2", "0-2"};
    Error e = {{0}};
    ResultFile file = {0};
    double d, band, low, high, mode;
    StrataAuditOptions o = {.common = {.model_name = "tests/data/models/mixtral", .numerics = "stable"},
                            .orders = specs,
                            .n_orders = 2,
                            .dataset_path = rows_path,
                            .output = json};
    char *text = run_audit(o, 0, NULL);
    CHECK(strstr(text, "the difference is real on these rows") && strstr(text, "paired resamples of 24 units"));
    free(text);
    CHECK_MSG(result_file_open(json, "strata.audit-orders/1", &file, &e) == 0, "%s", e.text);
    CHECK(result_number(&file.root, "difference_ref64", &d, &e) == 0 &&
          result_number(&file.root, "difference", &mode, &e) == 0);
    CHECK(result_number(&file.root, "rounding_band", &band, &e) == 0);
    CHECK(result_number(&file.root, "ci95_low", &low, &e) == 0 && result_number(&file.root, "ci95_high", &high, &e) == 0);
    CHECK(fabs(d) > 1e-6 && fabs(d - mode) <= band && band < 1e-5 && low < d && d < high);
    result_file_close(&file);
    o.orders = same;
    text = run_audit(o, 0, NULL);
    CHECK(strstr(text, "no difference is known to exist") && strstr(text, "B - A in ref64: 0 nats"));
    free(text);
    o.n_orders = 1;
    free(run_audit(o, 2, message));
    o.n_orders = 2;
    o.ids = "1,2,3";
    free(run_audit(o, 2, message));
    CHECK(strstr(message, "rows"));
    o.dataset_path = NULL;
    o.common.numerics = "ref64";
    text = run_audit(o, 0, NULL);
    CHECK(strstr(text, "no interval from 1 unit"));
    free(text);
    free(json);
}

int main(void)
{
    if (!temp_begin())
        return 1;
    write_rows();
    RUN(entries_are_what_they_were);
    RUN(a_changed_entry_is_found);
    RUN(a_damaged_array_is_named);
    RUN(what_is_no_finished_sweep);
    RUN(two_orders);
    free(rows_path);
    temp_end();
    return test_finish();
}
