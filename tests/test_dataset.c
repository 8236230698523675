/* test_dataset.c: rows, articles, gzip and zip against Python's standard library (tests/data/dataset/expected.json, written by
 * tools/make_dataset_fixture.py), then hostile files, lookup and limits. */
#include "tests/test.h"

#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/strbuf.h"
#include "loaders/dataset.h"
#include "loaders/dataset_unpack.h"

#define DIR "tests/data/dataset/"

static char temp[] = "/tmp/strata_test_dataset_XXXXXX";

static const char *temp_path(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", temp, name);
    return path;
}

static const char *temp_write(const char *name, const void *data, size_t len)
{
    const char *path = temp_path(name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, len, f) != len || fclose(f) != 0)
        printf("cannot write %s\n", path);
    return path;
}

static const char *temp_puts(const char *name, const char *text)
{
    return temp_write(name, text, strlen(text));
}

static void check_row(const char *file, size_t i, const Row *row, const JsonValue *want)
{
    const JsonValue *text = json_get(want, "text"), *ids = json_get(want, "ids");
    CHECK_MSG(row->line == (size_t)json_get(want, "line")->integer, "%s row %zu: line %zu", file, i, row->line);
    CHECK_MSG(row->article == (int32_t)json_get(want, "article")->integer, "%s row %zu: article %d", file, i, row->article);
    static const char *const kinds[] = {"plain", "heading", "body"};
    CHECK_MSG(json_is_string(json_get(want, "kind"), kinds[row->kind]), "%s row %zu: kind %s", file, i, kinds[row->kind]);
    CHECK_MSG(!text == !row->text, "%s row %zu: text or none", file, i);
    if (text && row->text)
        CHECK_MSG(row->len == text->len && memcmp(row->text, text->string, row->len) == 0, "%s row %zu: \"%.*s\"", file, i,
                  (int)row->len, row->text);
    if (ids) {
        CHECK_MSG(row->n_ids == ids->len, "%s row %zu: %zu ids", file, i, row->n_ids);
        for (size_t k = 0; k < ids->len && k < row->n_ids; k++)
            CHECK(row->ids[k] == ids->items[k].integer);
    }
}

static void test_against_python(void)
{
    StrBuf b = {0};
    Arena arena = {0};
    const JsonValue *root = NULL;
    Error e = {0};
    CHECK_MSG(file_read(DIR "expected.json", 1 << 20, &b, &e) == 0, "%s", e.text);
    CHECK_MSG(json_parse(b.data, b.len, "expected.json", &arena, &root, &e) == 0, "%s", e.text);
    const JsonValue *files = json_get(root, "files");
    CHECK(files && files->len == 11);
    for (size_t f = 0; files && f < files->len; f++) {
        const JsonValue *want = &files->items[f], *rows = json_get(want, "rows"), *concat = json_get(want, "concat");
        const char *name = json_get(want, "file")->string;
        char path[256];
        snprintf(path, sizeof path, DIR "%s", name);
        Dataset d;
        int status = dataset_open(NULL, path, NULL, &d, &e);
        CHECK_MSG(status == 0, "%s", e.text);
        if (status)
            continue;
        CHECK_STR(d.sha256, json_get(want, "sha256")->string);
        CHECK_MSG(d.is_wikitext == json_get(want, "wikitext")->boolean, "%s", name);
        CHECK_MSG(d.n_rows == rows->len, "%s: %zu rows, expected %zu", name, d.n_rows, rows->len);
        for (size_t i = 0; i < d.n_rows && i < rows->len; i++)
            check_row(name, i, &d.rows[i], &rows->items[i]);
        const char *text = NULL;
        size_t len = 0;
        status = dataset_concat_text(&d, &text, &len, &e);
        if (concat->kind == JSON_STRING)
            CHECK_MSG(status == 0 && len == concat->len && memcmp(text, concat->string, len) == 0, "%s: joined to %zu bytes",
                      name, len);
        else
            CHECK_MSG(status == STATUS_USAGE, "%s: ids rows joined", name);
        dataset_close(&d);
    }
    arena_free(&arena);
    strbuf_free(&b);
}

static void expect_error(int status, const char *path, const char *part)
{
    Error e = {0};
    Dataset d;
    int got = dataset_open(NULL, path, NULL, &d, &e);
    CHECK_MSG(got == status && strstr(e.text, part), "%s: status %d, \"%s\", expected %d, \"%s\"", path, got, e.text, status,
              part);
    CHECK(d.rows == NULL && d.path == NULL);
}

static void test_bad_rows(void)
{
    expect_error(1, temp_puts("a.jsonl", "{\"text\": \"x\"}\n{\"no\": 1}\n"), "line 2: expected a field \"text\" or \"ids\"");
    expect_error(1, temp_puts("a.jsonl", "\n{\"text\": 5}\n"), "line 2: expected \"text\" to be a string");
    expect_error(1, temp_puts("a.jsonl", "{\"text\": null}\n"), "line 1: expected \"text\" to be a string");
    expect_error(1, temp_puts("a.jsonl", "{\"text\": \"x\", \"ids\": [1]}\n"), "both");
    expect_error(1, temp_puts("a.jsonl", "{\"ids\": 3}\n"), "array");
    expect_error(1, temp_puts("a.jsonl", "{\"ids\": [1, -2]}\n"), "ids[1]");
    expect_error(1, temp_puts("a.jsonl", "{\"ids\": [1.5]}\n"), "ids[0]");
    expect_error(1, temp_puts("a.jsonl", "{\"ids\": [1e2]}\n"), "ids[0]");
    expect_error(1, temp_puts("a.jsonl", "{\"ids\": [2147483648]}\n"), "ids[0]");
    expect_error(1, temp_puts("a.jsonl", "{\"ids\": [true]}\n"), "ids[0]");
    expect_error(1, temp_puts("a.jsonl", "[1]\n"), "expected an object");
    expect_error(1, temp_puts("a.jsonl", "{\"text\": \"x\"\n"), "line 1");
    expect_error(1, temp_puts("a.jsonl", "\n \n"), "empty data set");
    expect_error(1, temp_puts("a.txt", ""), "empty data set");
    expect_error(1, temp_puts("a.txt", "\xef\xbb\xbf \n\n"), "empty data set");
    expect_error(1, temp_puts("a.txt", "fine\nab\xff\n"), "line 2, byte 3: expected UTF-8 text, found 0xff");
    expect_error(1, temp_puts("a.txt", "fine\n\xed\xa0\x80\n"), "line 2, byte 1");
    expect_error(1, temp_puts("a.jsonl", "{\"text\": \"\xc3\"}\n"), "line 1");
    expect_error(2, temp_puts("a.csv", "x\n"), "expected a data file");
    expect_error(2, temp, "a folder");
    expect_error(2, "no/such.txt", "strata pull");
}

static void test_bad_archives(void)
{
    expect_error(1, DIR "two.zip", "found several (a.txt, b.txt)");
    expect_error(1, DIR "bzip2.zip", "method 12");
    expect_error(2, temp_puts("a.gz", "x"), "expected a data file");
    expect_error(1, temp_puts("a.txt.gz", "plain text\n"), "not gzip");
    expect_error(1, temp_puts("a.zip", "plain text, no archive\n"), "not a zip archive");
    expect_error(1, temp_puts("a.zip", ""), "not a zip archive");
    StrBuf b = {0};
    Error e = {0};
    /* Every cut and every flipped byte of an archive: an error, or (a flip in a date, say) the same rows; never a crash. */
    static const char *const names[] = {"members.txt.gz", "wiki_deflated.zip", "wiki_stored.zip"};
    for (size_t n = 0; n < 3; n++) {
        char path[256], cut[64];
        snprintf(path, sizeof path, DIR "%s", names[n]);
        snprintf(cut, sizeof cut, "cut_%s", names[n]);
        strbuf_reset(&b);
        CHECK_MSG(file_read(path, 1 << 20, &b, &e) == 0, "%s", e.text);
        size_t whole = b.len - (n == 0 ? 7 : 0); /* zero padding of the .gz may be cut */
        Dataset d;
        for (size_t len = 0; len < whole; len++) {
            int status = dataset_open(NULL, temp_write(cut, b.data, len), NULL, &d, &e);
            bool member_end = n == 0 && status == 0; /* a .gz cut between two members is a whole file */
            CHECK_MSG(status == 1 || member_end, "%s cut at %zu was read", names[n], len);
            dataset_close(&d);
        }
        for (size_t i = 0; i < b.len; i++) {
            b.data[i] = (char)(b.data[i] ^ 0xff);
            dataset_open(NULL, temp_write(cut, b.data, b.len), NULL, &d, &e);
            dataset_close(&d);
            b.data[i] = (char)(b.data[i] ^ 0xff);
        }
    }
    strbuf_free(&b);
}

/* 100 MB of zeros in a small .gz: refused while it unpacks, not after. */
static void test_bomb(void)
{
    char command[512];
    const char *path = temp_path("bomb.txt.gz");
    snprintf(command, sizeof command, "head -c 100000000 /dev/zero | gzip -9 > %s", path);
    if (system(command) != 0)
        SKIP("no gzip command");
    expect_error(1, path, "more than 250 times");
}

static void test_lookup(void)
{
    Error e = {0};
    Dataset d;
    CHECK(unsetenv("STRATA_DATA") == 0);
    CHECK(dataset_open("wiki-text-103", NULL, "no-such-split", &d, &e) == STATUS_USAGE);
    CHECK_MSG(strstr(e.text, "strata pull --dataset wiki-text-103") && strstr(e.text, "datasets/wiki-text-103/no-such-split"),
              "%s", e.text);
    CHECK(dataset_open("wikitext", NULL, NULL, &d, &e) == STATUS_USAGE && strstr(e.text, "gpt2-output-dataset"));
    CHECK(dataset_open(NULL, NULL, NULL, &d, &e) == STATUS_USAGE);
    CHECK(dataset_open("bookcorpus", NULL, "../x", &d, &e) == STATUS_USAGE);
    CHECK(setenv("STRATA_DATA", temp, 1) == 0);
    CHECK(mkdir(temp_path("bookcorpus"), 0700) == 0 && mkdir(temp_path("gpt2-output-dataset"), 0700) == 0);
    temp_puts("bookcorpus/train.txt", " = a sentence = \nanother\n");
    temp_puts("gpt2-output-dataset/test.jsonl", "{\"id\": 0, \"ended\": true, \"length\": 2, \"text\": \"Some text\"}\n");
    CHECK_MSG(dataset_open("bookcorpus", NULL, "train", &d, &e) == 0, "%s", e.text);
    CHECK(d.n_rows == 2 && !d.is_wikitext && d.rows[0].article == -1);
    CHECK_STR(d.name, "bookcorpus");
    dataset_close(&d);
    CHECK_MSG(dataset_open("gpt2-output-dataset", NULL, NULL, &d, &e) == 0, "%s", e.text);
    CHECK(d.is_jsonl && d.n_rows == 1 && d.rows[0].len == 9);
    dataset_close(&d);
    CHECK(dataset_open("bookcorpus", NULL, "test", &d, &e) == STATUS_USAGE && strstr(e.text, temp));
    CHECK(unsetenv("STRATA_DATA") == 0);
}

static void test_options(void)
{
    Error e = {0};
    Dataset d;
    const char *path =
        temp_puts("both.part.jsonl", "{\"text\": \"x\", \"ids\": [1]}\n{\"text\": \"y\"}\n{\"text\": \"z\"}\nbroken\n");
    DatasetOptions o = {.path = path, .max_rows = 2, .text_only = true};
    CHECK_MSG(dataset_open_with(&o, &d, &e) == 0, "%s", e.text);
    CHECK(d.n_rows == 2 && d.rows[0].len == 1 && !d.rows[0].ids);
    CHECK_STR(d.name, "both.part");
    dataset_close(&d);
    path = temp_puts("w.txt", "a\nb\nc\n");
    o = (DatasetOptions){.path = path, .type = "wiki-text-2", .max_rows = 1};
    CHECK_MSG(dataset_open_with(&o, &d, &e) == 0, "%s", e.text);
    const char *text = NULL;
    size_t len = 0;
    CHECK(d.n_rows == 1 && d.rows[0].kind == ROW_BODY && d.rows[0].article == -1);
    CHECK(dataset_concat_text(&d, &text, &len, &e) == 0 && len == 10);
    CHECK_STR(text, "a\n\n\nb\n\n\nc\n");
    CHECK_STR(d.name, "wiki-text-2");
    dataset_close(&d);
    dataset_close(&d); /* a closed one may be closed again */
    path = temp_puts("prefix.txt", "\n = Title = \n\n one\ntwo\n bad \xff\n");
    o = (DatasetOptions){.path = path, .max_rows = 3};
    CHECK_MSG(dataset_open_with(&o, &d, &e) == 0, "%s", e.text); /* what was not asked for is not looked at */
    CHECK(d.n_rows == 3 && d.is_wikitext && d.rows[0].kind == ROW_HEADING && d.rows[2].line == 5 && !d.sha256[0]);
    dataset_close(&d);
    o.max_rows = 4;
    CHECK(dataset_open_with(&o, &d, &e) == 1 && strstr(e.text, "line 6"));
    path = temp_puts("rows.json", "{\"text\": \"x\"}\n");
    o = (DatasetOptions){.path = path};
    CHECK(dataset_open_with(&o, &d, &e) == 2);
    o.jsonl = true;
    CHECK(dataset_open_with(&o, &d, &e) == 0 && d.n_rows == 1 && d.rows[0].len == 1);
    dataset_close(&d);
}

int main(void)
{
    if (!mkdtemp(temp))
        return 1;
    RUN(test_against_python);
    RUN(test_bad_rows);
    RUN(test_bad_archives);
    RUN(test_bomb);
    RUN(test_lookup);
    RUN(test_options);
    char command[512];
    snprintf(command, sizeof command, "rm -rf %s", temp);
    if (system(command) != 0)
        printf("left behind: %s\n", temp);
    return test_finish();
}
