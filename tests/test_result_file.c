/* test_result_file.c: typed access to result files: values, null, and one line that names file and field for everything that is
 * not as expected. */
#include <unistd.h>

#include "experiments/result_file.h"
#include "tests/test.h"

static char folder[] = "/tmp/strata-result-XXXXXX";
static char file[64];

static int open_text(const char *text, size_t len, const char *schema, ResultFile *out, Error *e)
{
    FILE *f = fopen(file, "wb");
    CHECK(f && fwrite(text, 1, len, f) == len && fclose(f) == 0);
    return result_file_open(file, schema, out, e);
}

static void reads_values(void)
{
    static const char text[] = "{\"schema\": \"strata.ppl/1\", \"n_tokens\": 4503599627370497, \"protocol\": {\"bos\": true, "
                               "\"hashes\": {\"b\": \"22\", \"a\": \"1\\u00e9\"}},\n"
                               "\"orders\": [{\"name\": \"removal_0\", \"nll\": 3.125, \"ci\": [-0.5, null]}, "
                               "{\"name\": \"removal_1\", \"nll\": null, \"ci\": null}]}\n";
    ResultFile f;
    Error e;
    CHECK_MSG(open_text(text, strlen(text), "strata.ppl/1", &f, &e) == STATUS_OK, "%s", e.text);
    int64_t n = 0;
    CHECK(result_integer(&f.root, "n_tokens", &n, &e) == STATUS_OK && n == 4503599627370497);
    ResultNode protocol, hashes, orders, item = {0};
    CHECK(result_child(&f.root, "protocol", &protocol, &e) == STATUS_OK);
    CHECK(result_child(&protocol, "hashes", &hashes, &e) == STATUS_OK);
    char seen[64] = "";
    while (result_each(&hashes, &item)) {
        const char *value = NULL;
        CHECK(result_string(&hashes, result_name(&item), &value, &e) == STATUS_OK);
        snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s=%s;", result_name(&item), value);
    }
    CHECK_STR(seen, "b=22;a=1\xc3\xa9;");
    CHECK(result_child(&f.root, "orders", &orders, &e) == STATUS_OK);
    CHECK(result_length(&orders) == 2 && result_length(&protocol) == 0);
    const char *names[2] = {0};
    double nll[2] = {0}, ci[2] = {0};
    size_t i = 0;
    for (item = (ResultNode){0}; result_each(&orders, &item) && i < 2; i++) {
        CHECK(result_string(&item, "name", &names[i], &e) == STATUS_OK);
        CHECK(result_number(&item, "nll", &nll[i], &e) == STATUS_OK);
        CHECK(result_has(&item, "ci") == (i == 0));
        if (i == 0)
            CHECK(result_numbers(&item, "ci", ci, 2, &e) == STATUS_OK);
    }
    CHECK(i == 2);
    CHECK_STR(names[1], "removal_1");
    CHECK(nll[0] == 3.125 && isnan(nll[1]) && ci[0] == -0.5 && isnan(ci[1]));
    CHECK(!result_has(&f.root, "nothing") && !result_has(&f.root, "Schema"));
    result_file_close(&f);
}

/* The error is one line and holds file and text. */
static void check_error(int status, const Error *e, const char *text)
{
    CHECK(status == STATUS_FAILED);
    CHECK_MSG(strstr(e->text, file) == e->text && strstr(e->text, text) && !strchr(e->text, '\n'), "\"%s\" lacks \"%s\"",
              e->text, text);
}

static void names_what_is_wrong(void)
{
    static const char text[] = "{\"schema\": \"x\", \"n\": 1.5, \"big\": 1e300, \"orders\": [{\"nll\": 1}, {\"nll\": \"a\", "
                               "\"steps\": [1, [], 3]}]}";
    ResultFile f;
    Error e;
    ResultNode orders, item = {0}, child;
    int64_t n;
    double x, three[3];
    const char *s;
    CHECK_MSG(open_text(text, strlen(text), NULL, &f, &e) == STATUS_OK, "%s", e.text);
    check_error(result_integer(&f.root, "n", &n, &e), &e, "n: expected a whole number, found a number");
    check_error(result_integer(&f.root, "big", &n, &e), &e, "big: expected a whole number");
    check_error(result_number(&f.root, "absent", &x, &e), &e, "absent: expected a number or null, found nothing");
    check_error(result_string(&f.root, "n", &s, &e), &e, "n: expected a string, found a number");
    check_error(result_child(&f.root, "n", &child, &e), &e, "n: expected an object or array, found a number");
    CHECK(result_child(&f.root, "orders", &orders, &e) == STATUS_OK);
    CHECK(result_each(&orders, &item) && result_each(&orders, &item));
    check_error(result_number(&item, "nll", &x, &e), &e, "orders[1].nll: expected a number or null, found a string");
    check_error(result_numbers(&item, "steps", three, 2, &e), &e, "orders[1].steps: expected 2 numbers, found 3");
    check_error(result_numbers(&item, "steps", three, 3, &e), &e,
                "orders[1].steps[1]: expected a number or null, found an array");
    CHECK(!result_each(&orders, &item));
    check_error(result_number(&orders, "nll", &x, &e), &e, "orders.nll: expected a number or null, found nothing");
    result_file_close(&f);
}

static void refuses_other_files(void)
{
    static const struct {
        const char *text, *schema, *error;
        size_t len; /* 0: strlen */
    } cases[] = {
        {"{\"schema\": \"strata.pos/1\"}", "strata.ppl/1", "schema: expected strata.ppl/1, found strata.pos/1", 0},
        {"{}", "strata.ppl/1", "schema: expected a string, found nothing", 0},
        {"[1]", NULL, "expected an object, found an array", 0},
        {"", NULL, "expected JSON, found the end", 0},
        {"{\"a\": 1", NULL, "expected JSON", 0},
        {"{\"a\": 1,\n\"b\": nul}\n", NULL, "line 2: expected JSON, found \"nul}\"", 0},
        {"{\"a\": 1} {}", NULL, "line 1: expected JSON, found \"{}\"", 0},
        {"{\"a\":\0 1}", NULL, "found a NUL byte", 9},
        {"{\"a\": \"\xff\"}", NULL, "expected UTF-8, found byte 0xff", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ResultFile f;
        Error e = {""};
        size_t len = cases[i].len ? cases[i].len : strlen(cases[i].text);
        check_error(open_text(cases[i].text, len, cases[i].schema, &f, &e), &e, cases[i].error);
        CHECK(!f.json && !f.path);
        result_file_close(&f);
    }
    /* Nesting without end is an error, not a stack overflow. */
    size_t n = 300000;
    char *deep = malloc(n);
    CHECK(deep != NULL);
    memset(deep, '[', n);
    ResultFile f;
    Error e = {""};
    check_error(open_text(deep, n, NULL, &f, &e), &e, "expected JSON");
    free(deep);
    unlink(file);
    CHECK(result_file_open(file, NULL, &f, &e) == STATUS_FAILED && strstr(e.text, file));
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    snprintf(file, sizeof file, "%s/ppl.json", folder);
    RUN(reads_values);
    RUN(names_what_is_wrong);
    RUN(refuses_other_files);
    unlink(file);
    rmdir(folder);
    return test_finish();
}
