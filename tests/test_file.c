/* test_file.c: maps, reads, atomic writes (a full disk, two writers, what a killed process left), folders and names. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "tests/test.h"

static char folder[64];

static char *in_folder(const char *name)
{
    char *path = file_join(folder, name);
    if (!path)
        abort();
    return path;
}

static void test_file_map(void)
{
    Error e = {{0}};
    FileMap m;
    char *path = in_folder("map"), *fifo = in_folder("fifo"), *none = in_folder("none");
    CHECK(file_write_atomic(path, "hello", 5, &e) == 0);
    CHECK(file_map(path, &m, &e) == 0 && m.size_bytes == 5 && memcmp(m.data, "hello", 5) == 0);
    file_will_need(m.data, m.size_bytes);
    file_drop_pages(m.data, m.size_bytes);
    CHECK(memcmp(m.data, "hello", 5) == 0);
    file_unmap(&m);
    CHECK(!m.data);
    file_unmap(&m);
    file_unmap(NULL);
    CHECK(file_write_atomic(path, "", 0, &e) == 0);
    CHECK(file_map(path, &m, &e) == 0 && !m.data && m.size_bytes == 0);
    file_drop_pages(m.data, 0);
    file_will_need(m.data, 0);
    CHECK(file_map(none, &m, &e) == STATUS_FAILED && strstr(e.text, "none: cannot open: No such file"));
    CHECK(file_map(folder, &m, &e) == STATUS_FAILED && strstr(e.text, "expected a regular file, found a folder"));
    CHECK(mkfifo(fifo, 0600) == 0 && file_map(fifo, &m, &e) == STATUS_FAILED && strstr(e.text, "found a pipe"));
    CHECK(file_map("/dev/null", &m, &e) == STATUS_FAILED && strstr(e.text, "found a character device"));
    free(path);
    free(fifo);
    free(none);
}

#ifdef __linux__
/* Resident pages of a mapping leave with file_drop_pages and come back with the same bytes. */
static size_t resident_kib(void)
{
    long pages = 0, all;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld %ld", &all, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void test_file_drop_pages(void)
{
    Error e = {{0}};
    FileMap m;
    char *path = in_folder("large");
    size_t n = 32u << 20;
    char *data = malloc(n);
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i * 7 >> 5);
    CHECK(file_write_atomic(path, data, n, &e) == 0 && file_map(path, &m, &e) == 0 && m.size_bytes == n);
    CHECK(memcmp(m.data, data, n) == 0);
    size_t before = resident_kib();
    file_drop_pages(m.data + 5000, n - 10000);
    size_t after = resident_kib();
    CHECK_MSG(after + (31u << 10) < before, "%zu KiB before, %zu KiB after", before, after);
    CHECK(memcmp(m.data, data, n) == 0);
    file_unmap(&m);
    unlink(path);
    free(data);
    free(path);
}
#endif

static void test_file_read(void)
{
    Error e = {{0}};
    StrBuf b = {0};
    char *path = in_folder("read"), *large = malloc(200000);
    memset(large, 'x', 200000);
    CHECK(file_write_atomic(path, large, 200000, &e) == 0);
    CHECK(file_read(path, 200000, &b, &e) == 0 && b.len == 200000 && memcmp(b.data, large, b.len) == 0 &&
          b.data[b.len] == '\0');
    CHECK(file_read(path, 199999, &b, &e) == STATUS_FAILED && strstr(e.text, "expected at most 199999 bytes, found more"));
    strbuf_free(&b);
    CHECK(file_read(folder, 1, &b, &e) == STATUS_FAILED && strstr(e.text, "cannot read"));
    CHECK(file_write_atomic(path, "", 0, &e) == 0 && file_read(path, 0, &b, &e) == 0 && b.data && b.len == 0);
    strbuf_free(&b);
    CHECK(file_read("/dev/zero", 100000, &b, &e) == STATUS_FAILED);
    strbuf_free(&b);
    char hex[65];
    memset(large, 'a', 200000);
    CHECK(file_write_atomic(path, "abc", 3, &e) == 0 && file_sha256(path, hex, &e) == 0);
    CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(file_sha256(folder, hex, &e) == STATUS_FAILED);
    free(large);
    free(path);
}

static bool content_is(const char *path, const char *text)
{
    StrBuf b = {0};
    bool same = file_read(path, 1 << 20, &b, NULL) == 0 && b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
    strbuf_free(&b);
    return same;
}

static void test_file_write_atomic(void)
{
    Error e = {{0}};
    char *path = in_folder("out"), *temporary = in_folder("out.tmp"), *nowhere = in_folder("no/such/file"),
         *link = in_folder("link");
    CHECK(file_write_atomic(path, "one", 3, &e) == 0 && content_is(path, "one") && !file_exists(temporary));
    CHECK(file_write_atomic(temporary, "what a killed process left behind", 33, &e) == 0);
    CHECK(file_write_atomic(path, "two", 3, &e) == 0 && content_is(path, "two") && !file_exists(temporary));
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == (0666 & ~mask));
    CHECK(file_write_atomic(nowhere, "x", 1, &e) == STATUS_FAILED && strstr(e.text, "No such file"));
    CHECK(file_write_atomic(folder, "x", 1, &e) == STATUS_FAILED && strstr(e.text, "expected a file, found a folder"));
    CHECK(symlink("/tmp/strata-test-must-not-be-written", temporary) == 0);
    CHECK(file_write_atomic(path, "x", 1, &e) == STATUS_FAILED && content_is(path, "two"));
    CHECK(!file_exists("/tmp/strata-test-must-not-be-written"));
    unlink(temporary);
    CHECK(file_write_atomic("/dev/null", "x", 1, &e) == 0);
    CHECK(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode));
    if (file_exists("/dev/full"))
        CHECK(file_write_atomic("/dev/full", "x", 1, &e) == STATUS_FAILED &&
              strstr(e.text, "/dev/full: cannot write: No space left"));
    free(path);
    free(temporary);
    free(nowhere);
    free(link);
}

/* A file size limit stands for the full disk: the write fails half-way, the file that was there stays, nothing is left over. */
static void test_file_write_disk_full(void)
{
    char *path = in_folder("limited"), *temporary = in_folder("limited.tmp");
    CHECK(file_write_atomic(path, "before", 6, NULL) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {100000, 100000};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        Error e = {{0}};
        static char data[200000];
        int status = file_write_atomic(path, data, sizeof data, &e);
        _exit(status == STATUS_FAILED && strstr(e.text, "limited: cannot write: ") && strstr(e.text, "100000 of 200000 bytes")
                  ? 0
                  : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(content_is(path, "before") && !file_exists(temporary));
    free(path);
    free(temporary);
}

typedef struct Writer {
    const char *path;
    char letter;
    int n_failed;
} Writer;

static void *write_often(void *arg)
{
    Writer *w = arg;
    char text[5000];
    memset(text, w->letter, sizeof text);
    for (int i = 0; i < 50; i++)
        w->n_failed += file_write_atomic(w->path, text, sizeof text, NULL) != 0;
    return NULL;
}

/* Two writers of one name: each version a reader sees is whole. */
static void test_file_write_concurrent(void)
{
    char *path = in_folder("shared"), first[5000];
    memset(first, 'a', sizeof first);
    CHECK(file_write_atomic(path, first, sizeof first, NULL) == 0);
    Writer writers[2] = {{path, 'a', 0}, {path, 'b', 0}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, write_often, &writers[i]) == 0);
    for (int i = 0; i < 200; i++) {
        StrBuf b = {0};
        CHECK(file_read(path, 1 << 20, &b, NULL) == 0 && b.len == 5000);
        for (size_t k = 1; k < b.len; k++) {
            if (b.data[k] != b.data[0]) {
                CHECK_MSG(false, "a mixed file");
                break;
            }
        }
        strbuf_free(&b);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        CHECK(writers[i].n_failed == 0);
    }
    free(path);
}

static void test_file_names(void)
{
    Error e = {{0}};
    CHECK_STR(file_basename("a/b/c.txt"), "c.txt");
    CHECK_STR(file_basename("c.txt"), "c.txt");
    CHECK_STR(file_basename("a/"), "");
    static const char *const joins[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (size_t i = 0; i < 4; i++) {
        char *s = file_join(joins[i][0], joins[i][1]);
        CHECK_STR(s, joins[i][2]);
        free(s);
    }
    char *deep = in_folder("x/y//z/"), *file = in_folder("x/file"), *below = in_folder("x/file/more");
    CHECK(file_make_dirs(deep, &e) == 0 && file_is_dir(deep) && file_make_dirs(deep, &e) == 0);
    CHECK(file_make_dirs(".", &e) == 0 && file_make_dirs("/", &e) == 0);
    CHECK(file_write_atomic(file, "", 0, &e) == 0 && !file_is_dir(file) && file_exists(file));
    CHECK(file_make_dirs(file, &e) == STATUS_FAILED && strstr(e.text, "x/file: cannot make the folder: a file of that name"));
    CHECK(file_make_dirs(below, &e) == STATUS_FAILED && strstr(e.text, "x/file: cannot make the folder"));
    CHECK(file_sync_dir(deep, &e) == 0 && file_sync_dir(file, &e) == STATUS_FAILED);
    free(deep);
    free(file);
    free(below);
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0)
        printf("could not remove %s\n", folder);
}

int main(void)
{
    strcpy(folder, "/tmp/strata-file-XXXXXX");
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    RUN(test_file_map);
#ifdef __linux__
    RUN(test_file_drop_pages);
#endif
    RUN(test_file_read);
    RUN(test_file_write_atomic);
    RUN(test_file_write_disk_full);
    RUN(test_file_write_concurrent);
    RUN(test_file_names);
    remove_folder();
    return test_finish();
}
