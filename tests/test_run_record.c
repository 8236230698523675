/* test_run_record.c: the folder of a run and its fingerprint: every option that differs is named, the same command goes on, --force starts
 * over, a broken run.json is refused; and file hashes, the lock, the command that goes on. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/json.h"
#include "experiments/run_record.h"
#include "tests/test.h"

static char folder[] = "/tmp/strata-record-XXXXXX";
static char *command_line[] = {"build/strata", "sweep", "--model_name", "m", "--force", "--orders", "0-3, it's", NULL};

static const char *const options[][2] = {{"dataset", "wiki-text-2"}, {"split", "test"},    {"experiment", "removal"},
                                         {"protocol", "rows"},       {"context", "1024"},  {"bos", "no"},
                                         {"dtype", "f32"},           {"numerics", "fast"}, {"seed", "0"}};
enum { N_OPTIONS = sizeof options / sizeof options[0] };

static void path_of(const char *name, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%s/%s", folder, name);
}

static void put_file(const char *name, const char *text)
{
    char path[256];
    path_of(name, path, sizeof path);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static bool is_there(const char *name)
{
    char path[256];
    path_of(name, path, sizeof path);
    return file_exists(path);
}

/* Opens a record of the run in NAME with all options, option `changed` (-1: none) set to value (NULL: left out), and begins. */
static int begin_changed(const char *name, int changed, const char *value, bool force, bool fast, RunRecord **out,
                         RunState *state, Error *e)
{
    char dir[256];
    path_of(name, dir, sizeof dir);
    *out = NULL;
    int status = run_record_open(dir, 7, command_line, force, out, e);
    if (status)
        return status;
    for (int i = 0; i < N_OPTIONS; i++) {
        const char *v = i == changed ? value : options[i][1];
        if (v)
            run_record_set(*out, options[i][0], "%s", v);
    }
    run_record_hash(*out, "rows_sha256", "00ff");
    RunMachine machine = {.device = "cpu", .threads = 2, .fast = fast};
    run_record_machine(*out, &machine);
    run_record_note(*out, "memory_bytes", "%d", 12345);
    return run_record_begin(*out, state, e);
}

static int begin(const char *name, RunRecord **out, RunState *state, Error *e)
{
    return begin_changed(name, -1, NULL, false, true, out, state, e);
}

/* Makes a complete run in NAME. */
static void complete(const char *name)
{
    RunRecord *r;
    RunState state;
    Error e;
    char file[128];
    CHECK_MSG(begin(name, &r, &state, &e) == STATUS_OK && state == RUN_FRESH, "%s", e.text);
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s/%s", name, i ? "ppl.json" : "ledger.safetensors");
        put_file(file, "x");
    }
    CHECK(run_record_finish(r, &e) == STATUS_OK);
    run_record_close(r);
}

static void same_command_goes_on(void)
{
    RunRecord *r;
    RunState state;
    Error e = {""};
    CHECK_MSG(begin("same", &r, &state, &e) == STATUS_OK && state == RUN_FRESH, "%s", e.text);
    char first[65];
    snprintf(first, sizeof first, "%s", run_record_fingerprint(r));
    CHECK(strlen(first) == 64 && is_there("same/run.json"));
    run_record_close(r); /* as if killed */
    CHECK_MSG(begin("same", &r, &state, &e) == STATUS_OK && state == RUN_RESUME, "%s", e.text);
    CHECK_STR(run_record_fingerprint(r), first);
    CHECK(run_record_earlier_integer(r, "memory_bytes", -1) == 12345 && run_record_earlier_integer(r, "nothing", -1) == -1);
    CHECK(run_record_pause(r, &e) == STATUS_OK);
    run_record_close(r);
    put_file("same/ledger.safetensors", "x");
    CHECK_MSG(begin("same", &r, &state, &e) == STATUS_OK && state == RUN_RESUME, "%s",
              e.text); /* its tables are not written yet */
    put_file("same/ppl.json", "x");
    run_record_time(r, "tokens_per_second", 12.5);
    CHECK(run_record_finish(r, &e) == STATUS_OK);
    run_record_close(r);
    CHECK_MSG(begin("same", &r, &state, &e) == STATUS_OK && state == RUN_DONE, "%s", e.text);
    run_record_close(r);

    char path[256];
    path_of("same/run.json", path, sizeof path);
    StrBuf text = {0};
    Arena arena = {0};
    const JsonValue *root = NULL;
    CHECK(file_read(path, 1 << 20, &text, &e) == STATUS_OK);
    CHECK_MSG(json_parse(text.data, text.len, path, &arena, &root, &e) == STATUS_OK, "%s", e.text);
    const JsonValue *timing = json_get(root, "timing"), *sessions = json_get(timing, "sessions");
    CHECK(json_is_string(json_get(root, "state"), "complete") && json_is_string(json_get(root, "fingerprint_sha256"), first));
    CHECK(sessions && sessions->len == 3 && json_get(timing, "tokens_per_second")->number == 12.5);
    CHECK(json_get(&sessions->items[0], "ended")->kind == JSON_NULL); /* it never got to say */
    CHECK(json_get(&sessions->items[1], "ended")->kind == JSON_STRING);
    CHECK(json_is_string(json_get(json_get(root, "fingerprint"), "context"), "1024"));
    arena_free(&arena);
    strbuf_free(&text);
}

/* The one line names folder, key, both values and what to do. */
static void check_refused(int status, const Error *e, const char *key, const char *before, const char *now)
{
    char expected[160];
    snprintf(expected, sizeof expected, "%s was %s, now %s", key, before, now);
    CHECK(status == STATUS_USAGE);
    CHECK_MSG(strstr(e->text, expected) && strstr(e->text, folder) && strstr(e->text, "--force") && strstr(e->text, "--tag"),
              "\"%s\" lacks \"%s\"", e->text, expected);
}

static void differing_options_are_named(void)
{
    RunRecord *r;
    RunState state;
    Error e;
    CHECK(begin("differs", &r, &state, &e) == STATUS_OK);
    run_record_close(r);
    complete("finished");
    static const char *const folders[] = {"differs", "finished"};
    for (int f = 0; f < 2; f++) {
        for (int i = 0; i < N_OPTIONS; i++) {
            check_refused(begin_changed(folders[f], i, "other", false, true, &r, &state, &e), &e, options[i][0], options[i][1],
                          "other");
            run_record_close(r);
            check_refused(begin_changed(folders[f], i, NULL, false, true, &r, &state, &e), &e, options[i][0], options[i][1],
                          "not set");
            run_record_close(r);
        }
        /* Outside of fast the machine does not count: its pairs are those that are missing now. */
        check_refused(begin_changed(folders[f], -1, NULL, false, false, &r, &state, &e), &e, "device", "cpu", "not set");
        run_record_close(r);
        CHECK_MSG(begin(folders[f], &r, &state, &e) == STATUS_OK, "%s", e.text);
        CHECK(state == (f ? RUN_DONE : RUN_RESUME)); /* refusals changed nothing */
        run_record_close(r);
    }
    CHECK(begin_changed("new", 0, NULL, false, true, &r, &state, &e) == STATUS_OK);
    run_record_close(r);
    check_refused(begin("new", &r, &state, &e), &e, "dataset", "not set", "wiki-text-2");
    run_record_close(r);
}

static void force_starts_over(void)
{
    RunRecord *r;
    RunState state;
    Error e;
    complete("forced");
    put_file("forced/pos.json", "x");
    put_file("forced/notes.txt", "mine");
    CHECK_MSG(begin_changed("forced", 4, "512", true, true, &r, &state, &e) == STATUS_OK && state == RUN_FRESH, "%s", e.text);
    CHECK(!run_record_has_earlier(r) && run_record_earlier_integer(r, "memory_bytes", -1) == -1);
    CHECK(!is_there("forced/ledger.safetensors") && !is_there("forced/ppl.json") && !is_there("forced/pos.json"));
    CHECK(is_there("forced/notes.txt") && is_there("forced/run.json"));
    run_record_close(r);
    CHECK(begin_changed("forced", 4, "512", false, true, &r, &state, &e) == STATUS_OK && state == RUN_RESUME);
    run_record_close(r);
}

static void broken_files_are_refused(void)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "{\"schema\": \"strata.run/1\"",
                                        "[]",
                                        "{}",
                                        "{\"schema\": \"other/1\"}",
                                        "nonsense",
                                        "{\"schema\": \"strata.run/1\"} x"};
    RunRecord *r;
    RunState state;
    Error e;
    CHECK(begin("broken", &r, &state, &e) == STATUS_OK);
    run_record_close(r);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put_file("broken/run.json", texts[i]);
        int status = begin("broken", &r, &state, &e);
        CHECK_MSG(status == STATUS_USAGE && strstr(e.text, "run.json") && strstr(e.text, "--force"), "text %zu: %d, %s", i,
                  status, e.text);
        run_record_close(r);
    }
    put_file("broken/run.json",
             "{\"schema\": \"strata.run/1\", \"state\": 5, \"fingerprint\": [1], \"timing\": {\"sessions\": 7}, "
             "\"files\": {\"a\": 1}, \"options\": null}");
    check_refused(begin("broken", &r, &state, &e), &e, "dataset", "not set", "wiki-text-2");
    run_record_close(r);
    CHECK_MSG(begin_changed("broken", -1, NULL, true, true, &r, &state, &e) == STATUS_OK && state == RUN_FRESH, "%s", e.text);
    run_record_close(r);

    char dir[256];
    path_of("lost", dir, sizeof dir);
    CHECK(file_make_dirs(dir, &e) == STATUS_OK);
    put_file("lost/ledger.safetensors", "x");
    CHECK(begin("lost", &r, &state, &e) == STATUS_USAGE && strstr(e.text, "without its run.json"));
    run_record_close(r);
}

/* Replaces one value of a run.json: as if another version had written it. */
static void put_version(const char *name, const char *version)
{
    char path[256], file[128];
    snprintf(file, sizeof file, "%s/run.json", name);
    path_of(file, path, sizeof path);
    StrBuf text = {0}, out = {0};
    Error e;
    CHECK(file_read(path, 1 << 20, &text, &e) == STATUS_OK);
    char *at = strstr(text.data, "\"version\": \"");
    CHECK(at != NULL);
    char *value = at + strlen("\"version\": \"");
    strbuf_append(&out, text.data, (size_t)(value - text.data));
    strbuf_puts(&out, version);
    strbuf_puts(&out, strchr(value, '"'));
    put_file(file, out.data);
    strbuf_free(&text);
    strbuf_free(&out);
}

static void versions_never_mix(void)
{
    RunRecord *r;
    RunState state;
    Error e;
    CHECK(begin("version", &r, &state, &e) == STATUS_OK);
    run_record_close(r);
    put_version("version", "0.0.1");
    CHECK(begin("version", &r, &state, &e) == STATUS_USAGE && strstr(e.text, "version was 0.0.1, now"));
    run_record_close(r);
    complete("old");
    put_version("old", "0.0.1");
    CHECK_MSG(begin("old", &r, &state, &e) == STATUS_OK && state == RUN_DONE, "%s", e.text); /* finished stays finished */
    run_record_close(r);
}

static void one_process_a_folder(void)
{
    RunRecord *first, *second = NULL;
    Error e;
    char dir[256];
    path_of("locked", dir, sizeof dir);
    CHECK(run_record_open(dir, 7, command_line, false, &first, &e) == STATUS_OK);
    CHECK(run_record_open(dir, 7, command_line, false, &second, &e) == STATUS_FAILED && strstr(e.text, "another strata"));
    CHECK(second == NULL);
    run_record_close(first);
    CHECK(run_record_open(dir, 7, command_line, false, &second, &e) == STATUS_OK);
    run_record_close(second);
    put_file("plain", "x");
    path_of("plain/run", dir, sizeof dir);
    CHECK(run_record_open(dir, 7, command_line, false, &first, &e) == STATUS_FAILED && strstr(e.text, "plain"));
}

static void folders_and_commands(void)
{
    StrBuf out = {0};
    Error e;
    RunFolder f = {
        .output_dir = "results", .path_part = "block_2", .slug = "meta_llama_X", .dataset = "wiki-text-2", .n_samples = 1000};
    CHECK(run_record_folder(&f, &out, &e) == STATUS_OK);
    CHECK_STR(out.data, "results/block_2/meta_llama_X_wiki-text-2_n1000");
    f = (RunFolder){
        .output_dir = "a/", .path_part = "..", .slug = "../x", .tag = "t/ \xc3\xa9", .dataset = "d/..", .n_samples = 1};
    CHECK(run_record_folder(&f, &out, &e) == STATUS_OK);
    CHECK_STR(out.data, "a/_./_._x_t_____d_.._n1"); /* no name leaves its folder */
    strbuf_reset(&out);
    RunRecord *r;
    CHECK(run_record_open_dry(7, command_line, &r, &e) == STATUS_OK);
    run_record_command(r, &out); /* quoted for the shell, without --force */
    CHECK_STR(out.data, "build/strata sweep --model_name m --orders '0-3, it'\\''s'");
    RunState state = RUN_DONE;
    CHECK(run_record_begin(r, &state, &e) == STATUS_OK && state == RUN_FRESH && run_record_finish(r, &e) == STATUS_OK);
    run_record_close(r);
    strbuf_free(&out);
}

static void collect(void *user, const char *key, const char *value)
{
    strbuf_printf(user, "%s=%s;", key, value);
}

/* Hashes as sha256sum gives them; a file that changed is read again, one that did not is not. */
static void file_hashes(void)
{
    static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    static const char *const names[] = {"a.txt", "absent.txt", NULL};
    char dir[256], a[256], b[256], expected[512];
    RunRecord *r;
    RunState state;
    Error e;
    StrBuf got = {0};
    path_of("hashes", dir, sizeof dir);
    path_of("hashes/a.txt", a, sizeof a);
    path_of("hashes/b.txt", b, sizeof b);
    CHECK(file_make_dirs(dir, &e) == STATUS_OK);
    put_file("hashes/a.txt", "abc");
    put_file("hashes/b.txt", "");
    char *paths[] = {a, b};
    for (int round = 0; round < 3; round++) {
        CHECK(run_record_open(dir, 7, command_line, round == 2, &r, &e) == STATUS_OK);
        CHECK_MSG(run_record_hash_files(r, "one", paths, 1, &e) == STATUS_OK, "%s", e.text);
        CHECK_MSG(run_record_hash_files(r, "two", paths, 2, &e) == STATUS_OK, "%s", e.text);
        CHECK_MSG(run_record_hash_optional(r, "some", dir, names, &e) == STATUS_OK, "%s", e.text);
        strbuf_reset(&got);
        run_record_each_hash(r, collect, &got);
        const char *seen = round == 2 ? empty : abc;
        snprintf(expected, sizeof expected, "one=%s;two:a.txt=%s;two:b.txt=%s;some:a.txt=%s;", seen, seen, empty, seen);
        CHECK_STR(got.data, expected);
        CHECK_MSG(run_record_begin(r, &state, &e) == STATUS_OK, "%s", e.text); /* the absent file's pair is compared too */
        run_record_close(r);
        if (round == 0) { /* other bytes under the same size and time: the remembered hash stands */
            struct stat st;
            CHECK(stat(a, &st) == 0);
            put_file("hashes/a.txt", "xyz");
            const struct timespec times[2] = {st.st_atim, st.st_mtim};
            CHECK(utimensat(AT_FDCWD, a, times, 0) == 0);
        } else {
            put_file("hashes/a.txt", "");
        }
    }
    char missing[256];
    path_of("hashes/missing", missing, sizeof missing);
    char *gone[] = {missing};
    CHECK(run_record_open(dir, 7, command_line, false, &r, &e) == STATUS_OK);
    CHECK(run_record_hash_files(r, "k", gone, 1, &e) == STATUS_FAILED && strstr(e.text, "missing"));
    run_record_close(r);
    strbuf_free(&got);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    RUN(same_command_goes_on);
    RUN(differing_options_are_named);
    RUN(force_starts_over);
    RUN(broken_files_are_refused);
    RUN(versions_never_mix);
    RUN(one_process_a_folder);
    RUN(folders_and_commands);
    RUN(file_hashes);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) ? 1 : test_finish();
}
