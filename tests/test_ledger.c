/* test_ledger.c: the ledger on disk: layout as safetensors says, kills at random and at chosen moments, torn and lying journals,
 * foreign fingerprints, full disks, stages, hostile files. What a resumed ledger must be is what one uninterrupted process writes, byte
 * for byte. */
#include "tests/test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/rng.h"
#include "engine/base/sha256.h"
#include "engine/ledger.h"
#include "loaders/tensor_file.h"

enum { N_ORDERS = 7, N_TOKENS = 1001 /* odd: F32 columns must not push I64 ones off their alignment */, N_BLOCKS = 9 };

/* Where a writer stops: by SIGKILL, or (STOP_FULL) because no file may grow any more. */
typedef enum Stop { STOP_NOWHERE, STOP_IN_BLOCK, STOP_BEFORE_COMMIT, STOP_BEFORE_FINISH, STOP_FULL } Stop;

static Stop stop;
static size_t stop_block;
static DType nll_dtype = DTYPE_F32;
static char dir[64];
static size_t block_tokens[N_BLOCKS] = {100, 1, 250, 99, 150, 50, 200, 75, 76};

static void new_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/strata-ledger-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
}

static void remove_dir(void)
{
    static const char *const names[] = {"ledger.safetensors", "ledger.safetensors.part", "ledger.journal"};
    for (size_t i = 0; i < 3; i++) {
        char *path = file_join(dir, names[i]);
        unlink(path);
        free(path);
    }
    rmdir(dir);
}

static double value(size_t order, size_t token)
{
    return (double)(order * 1000003 + token) / 7.0;
}

static void stop_at(Stop where, size_t block)
{
    if (stop != where || (block != stop_block && where != STOP_BEFORE_FINISH))
        return;
    if (where == STOP_FULL) {
        struct rlimit limit = {.rlim_cur = 20000, .rlim_max = 20000};
        setrlimit(RLIMIT_FSIZE, &limit);
        signal(SIGXFSZ, SIG_IGN);
    } else {
        raise(SIGKILL);
    }
}

/* Writes the blocks that are missing; stops after `most` blocks without a word, as a kill would. */
static int write_ledger(const char *fingerprint, size_t most, Error *e)
{
    static int32_t ids[N_TOKENS];
    static int64_t bytes[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) {
        ids[i] = 3 * i;
        bytes[i] = 5 * (int64_t)i;
    }
    LedgerShape shape = {.n_orders = N_ORDERS,
                         .n_tokens = N_TOKENS,
                         .nll_dtype = nll_dtype,
                         .n_blocks = N_BLOCKS,
                         .block_tokens = block_tokens,
                         .fingerprint = fingerprint};
    LedgerTokens tokens = {.token_id = ids, .row = ids, .window = ids, .position = ids, .byte_start = bytes, .byte_end = bytes};
    Ledger *l = NULL;
    size_t first;
    int status = ledger_open(dir, &shape, &tokens, &l, &first, e);
    if (status)
        return status;
    size_t at = 0;
    for (size_t b = 0; b < first; b++)
        at += block_tokens[b];
    for (size_t b = first; !status && b < N_BLOCKS && b < first + most; at += block_tokens[b++]) {
        double nll[256];
        int32_t rank[256];
        stop_at(STOP_FULL, b);
        for (size_t o = 0; !status && o < N_ORDERS; o++) {
            if (o == N_ORDERS / 2)
                stop_at(STOP_IN_BLOCK, b);
            for (size_t i = 0; i < block_tokens[b]; i++) {
                nll[i] = value(o, at + i);
                rank[i] = (int32_t)(o * N_TOKENS + at + i);
            }
            LedgerBlock v = {.nll = nll, .kl = nll, .word_start_logp = nll, .rank = rank, .top1 = rank};
            status = ledger_write(l, b, o, &v, e);
        }
        if (!status)
            stop_at(STOP_BEFORE_COMMIT, b);
        if (!status)
            status = ledger_commit(l, b, e);
    }
    if (!status)
        stop_at(STOP_BEFORE_FINISH, 0);
    if (!status && first + most >= N_BLOCKS)
        status = ledger_finish(l, e);
    ledger_close(l);
    return status;
}

static void check_values(void)
{
    char *path = file_join(dir, "ledger.safetensors");
    LedgerView v;
    TensorFile f;
    Error e;
    CHECK_MSG(ledger_view_open(path, &v, &e) == STATUS_OK, "%s", e.text);
    CHECK(v.n_orders == N_ORDERS && v.n_tokens == N_TOKENS);
    CHECK_STR(v.fingerprint, "a=1");
    size_t bad = 0;
    for (size_t o = 0; o < N_ORDERS; o++)
        for (size_t t = 0; t < N_TOKENS; t++)
            bad += ledger_view_nll(&v, o, t) != (double)(float)value(o, t) ||
                   v.rank[o * N_TOKENS + t] != (int32_t)(o * N_TOKENS + t) || v.kl[o * N_TOKENS + t] != (float)value(o, t);
    CHECK(bad == 0);
    CHECK(v.token_id[10] == 30 && v.byte_end[1000] == 5000);
    ledger_view_close(&v);
    CHECK(tensor_file_open(path, &f, &e) == STATUS_OK); /* any reader of safetensors */
    CHECK(f.n_tensors == 11 && tensor_file_find(&f, "word_start_logp") != NULL);
    tensor_file_close(&f);
    free(path);
}

/* The finished file of an uninterrupted run. */
static void read_ledger(StrBuf *out)
{
    Error e;
    char *path = file_join(dir, "ledger.safetensors");
    CHECK_MSG(file_read(path, 1 << 24, out, &e) == STATUS_OK, "%s", e.text);
    free(path);
}

static void make_reference(StrBuf *out)
{
    Error e;
    new_dir();
    CHECK_MSG(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK, "%s", e.text);
    read_ledger(out);
    remove_dir();
}

static void check_same(const StrBuf *reference)
{
    StrBuf got = {0};
    read_ledger(&got);
    CHECK(got.len == reference->len && memcmp(got.data, reference->data, got.len) == 0);
    char *journal = file_join(dir, "ledger.journal"), *part = file_join(dir, "ledger.safetensors.part");
    CHECK(!file_exists(journal) && !file_exists(part));
    free(journal);
    free(part);
    strbuf_free(&got);
}

/* Writes n bytes into a file of the folder at an offset (from its end when negative). */
static void overwrite(const char *name, long offset, const char *bytes, size_t n)
{
    char *path = file_join(dir, name);
    FILE *f = fopen(path, "r+b");
    CHECK(f && fseek(f, offset, offset < 0 ? SEEK_END : SEEK_SET) == 0 && fwrite(bytes, 1, n, f) == n);
    if (f)
        fclose(f);
    free(path);
}

/* The first block that an open of the folder's ledger would go on with; SIZE_MAX when it is refused. */
static size_t first_missing(const char *fingerprint, Error *e)
{
    static const int32_t zeros[N_TOKENS];
    static const int64_t wide_zeros[N_TOKENS];
    LedgerShape shape = {.n_orders = N_ORDERS,
                         .n_tokens = N_TOKENS,
                         .nll_dtype = nll_dtype,
                         .n_blocks = N_BLOCKS,
                         .block_tokens = block_tokens,
                         .fingerprint = fingerprint};
    LedgerTokens tokens = {zeros, zeros, zeros, zeros, wide_zeros, wide_zeros};
    Ledger *l = NULL;
    size_t first;
    int status = ledger_open(dir, &shape, &tokens, &l, &first, e);
    ledger_close(l);
    return status ? SIZE_MAX : first;
}

static void a_whole_ledger_reads_back(void)
{
    Error e;
    new_dir();
    CHECK_MSG(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK, "%s", e.text);
    check_values();
    CHECK(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK); /* finished already */
    remove_dir();
}

static void stopped_after_any_block_it_goes_on(void)
{
    for (size_t n = 1; n < N_BLOCKS; n++) {
        Error e;
        new_dir();
        CHECK(write_ledger("a=1", n, &e) == STATUS_OK);
        CHECK(write_ledger("b=2", n, &e) == STATUS_USAGE);
        CHECK(strstr(e.text, "another run") != NULL);
        CHECK(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK);
        check_values();
        remove_dir();
    }
}

static void killed_at_random_it_ends_the_same(void)
{
    Rng rng;
    StrBuf reference = {0};
    rng_seed(&rng, 1, 0);
    make_reference(&reference);
    int n_killed = 0;
    for (int round = 0; round < 40; round++) {
        new_dir();
        for (int tries = 0; tries < 200; tries++) {
            pid_t child = fork();
            if (child == 0) {
                Error e;
                _exit(write_ledger("a=1", N_BLOCKS, &e) ? 1 : 0);
            }
            usleep((useconds_t)rng_below(&rng, 4000));
            if (tries < 20)
                kill(child, SIGKILL);
            int status;
            waitpid(child, &status, 0);
            n_killed += WIFSIGNALED(status);
            if (WIFEXITED(status)) {
                CHECK(WEXITSTATUS(status) == 0);
                break;
            }
        }
        check_values();
        check_same(&reference);
        remove_dir();
    }
    CHECK(n_killed > 20);
    strbuf_free(&reference);
}

static int run_child(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        Error e;
        _exit(write_ledger("a=1", N_BLOCKS, &e));
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

/* In a block, between a block's data and its journal line, before the renaming. */
static void killed_where_it_hurts_it_ends_the_same(void)
{
    StrBuf reference = {0};
    make_reference(&reference);
    for (Stop where = STOP_IN_BLOCK; where <= STOP_BEFORE_FINISH; where++) {
        new_dir();
        stop = where;
        for (stop_block = 0; stop_block < N_BLOCKS; stop_block++)
            CHECK(WIFSIGNALED(run_child()));
        stop = STOP_NOWHERE;
        CHECK(run_child() == 0);
        check_values();
        check_same(&reference);
        remove_dir();
    }
    strbuf_free(&reference);
}

static void a_torn_journal_is_cut(void)
{
    static const char *const tails[] = {"b",
                                        "block 3 ",
                                        "block 3 00000000 0-6",
                                        "block 3 00000000 0-6\n",
                                        "block 4 12345678 0-6\n",
                                        "block 3 12345678 0-99999999999999999999\n",
                                        "\n",
                                        "block 3 12345678 6-0\nblock 4"};
    StrBuf reference = {0};
    make_reference(&reference);
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        Error e;
        new_dir();
        CHECK(write_ledger("a=1", 3, &e) == STATUS_OK);
        char *path = file_join(dir, "ledger.journal");
        FILE *f = fopen(path, "a");
        fputs(tails[i], f);
        fclose(f);
        free(path);
        CHECK_MSG(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK, "%s", e.text);
        check_same(&reference);
        remove_dir();
    }
    for (long cut = 1; cut < 60; cut++) { /* down into the first line: then nothing counts as done */
        Error e;
        new_dir();
        CHECK(write_ledger("a=1", 1, &e) == STATUS_OK);
        char *path = file_join(dir, "ledger.journal");
        StrBuf text = {0};
        CHECK(file_read(path, 4096, &text, &e) == STATUS_OK);
        CHECK(truncate(path, (off_t)text.len > cut ? (off_t)text.len - cut : 0) == 0);
        CHECK_MSG(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK, "%s", e.text);
        check_same(&reference);
        strbuf_free(&text);
        free(path);
        remove_dir();
    }
    strbuf_free(&reference);
}

/* Data that are not what the journal saw written are computed again. */
static void damaged_blocks_are_redone(void)
{
    StrBuf reference = {0};
    make_reference(&reference);
    Error e;
    new_dir();
    CHECK(write_ledger("a=1", 5, &e) == STATUS_OK);
    overwrite("ledger.safetensors.part", -(4 * N_TOKENS * 4) - 4 * (N_TOKENS - 360), "\x55",
              1); /* last order's top1, token 360 */
    CHECK(write_ledger("a=1", 0, &e) == STATUS_OK);
    char *path = file_join(dir, "ledger.journal");
    StrBuf text = {0};
    CHECK(file_read(path, 4096, &text, &e) == STATUS_OK && strstr(text.data, "block 2 ") && !strstr(text.data, "block 3 "));
    CHECK(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK);
    check_same(&reference);
    strbuf_free(&text);
    strbuf_free(&reference);
    free(path);
    remove_dir();
}

static void another_run_is_refused(void)
{
    for (size_t n = 2; n <= N_BLOCKS; n += N_BLOCKS - 2) { /* unfinished, finished */
        Error e;
        StrBuf before = {0}, after = {0};
        new_dir();
        CHECK(write_ledger("model=a;context=512;seed=0", n, &e) == STATUS_OK);
        if (n == N_BLOCKS)
            read_ledger(&before);
        CHECK(write_ledger("model=a;context=1024;seed=1", n, &e) == STATUS_USAGE);
        CHECK_MSG(strstr(e.text, "context: expected 1024, found 512") != NULL, "%s", e.text);
        CHECK(write_ledger("model=a;context=512;dtype=f32;seed=0", n, &e) == STATUS_USAGE);
        CHECK_MSG(strstr(e.text, "dtype: expected f32, found none") != NULL, "%s", e.text);
        CHECK(write_ledger("0123", n, &e) == STATUS_USAGE);
        CHECK_MSG(strstr(e.text, "fingerprint: expected 0123, found model=a") != NULL, "%s", e.text);
        CHECK(n == N_BLOCKS || first_missing("model=a;context=512;seed=0", &e) == SIZE_MAX); /* other tokens */
        nll_dtype = DTYPE_F64;
        CHECK(write_ledger("model=a;context=512;seed=0", n, &e) == STATUS_USAGE);
        nll_dtype = DTYPE_F32;
        if (n == N_BLOCKS) {
            read_ledger(&after);
            CHECK(before.len == after.len && memcmp(before.data, after.data, before.len) == 0);
        }
        strbuf_free(&before);
        strbuf_free(&after);
        remove_dir();
    }
}

static void two_writers_are_one_too_many(void)
{
    Error e;
    new_dir();
    static const int32_t zero[1];
    static const int64_t wide_zero[1];
    LedgerShape shape = {.n_orders = 1,
                         .n_tokens = 1,
                         .nll_dtype = DTYPE_F32,
                         .n_blocks = 1,
                         .block_tokens = (const size_t[]){1},
                         .fingerprint = "a=1"};
    LedgerTokens tokens = {zero, zero, zero, zero, wide_zero, wide_zero};
    Ledger *first = NULL, *second = NULL;
    size_t block;
    CHECK(ledger_open(dir, &shape, &tokens, &first, &block, &e) == STATUS_OK);
    CHECK(ledger_open(dir, &shape, &tokens, &second, &block, &e) == STATUS_FAILED && strstr(e.text, "another process"));
    LedgerBlock v = {(const double[]){NAN}, (const double[]){INFINITY}, (const double[]){1e300}, zero, zero};
    CHECK(ledger_commit(first, 0, &e) == STATUS_FAILED); /* nothing was written yet */
    CHECK(ledger_finish(first, &e) == STATUS_FAILED);
    CHECK(ledger_write(first, 1, 0, &v, &e) == STATUS_FAILED && ledger_write(first, 0, 1, &v, &e) == STATUS_FAILED);
    CHECK(ledger_write(first, 0, 0, &v, &e) == STATUS_OK && ledger_commit(first, 0, &e) == STATUS_OK);
    CHECK(ledger_finish(first, &e) == STATUS_OK);
    ledger_close(first);
    LedgerView view;
    char *path = file_join(dir, "ledger.safetensors");
    CHECK(ledger_view_open(path, &view, &e) == STATUS_OK);
    CHECK(isnan(ledger_view_nll(&view, 0, 0)) && isinf(view.kl[0])); /* stored as they are */
    ledger_view_close(&view);
    free(path);
    remove_dir();
}

/* Two stages over two blocks of one token: the second stage writes orders 0 and 3, 4. */
static int write_stages(size_t from, size_t to, size_t *first, Error *e)
{
    static const int32_t zeros[2];
    static const int64_t wide_zeros[2];
    static const size_t one_each[2] = {1, 1};
    LedgerShape shape = {.n_orders = 5,
                         .n_tokens = 2,
                         .nll_dtype = DTYPE_F64,
                         .n_blocks = 2,
                         .block_tokens = one_each,
                         .n_stages = 2,
                         .fingerprint = "a=1"};
    LedgerTokens tokens = {zeros, zeros, zeros, zeros, wide_zeros, wide_zeros};
    Ledger *l = NULL;
    int status = ledger_open(dir, &shape, &tokens, &l, first, e);
    for (size_t b = from; !status && b < to; b++) {
        for (size_t o = 0; !status && o < 5; o++) {
            if (b < 2 ? o >= 3 : o == 1 || o == 2)
                continue;
            double x = 0.1 + (double)(10 * o + b % 2);
            LedgerBlock v = {&x, &x, &x, zeros, zeros};
            status = ledger_write(l, b, o, &v, e);
        }
        if (!status)
            status = ledger_commit(l, b, e);
    }
    if (!status && to == 4)
        status = ledger_finish(l, e);
    ledger_close(l);
    return status;
}

static void stages_share_a_ledger(void)
{
    Error e;
    size_t first;
    new_dir();
    CHECK(write_stages(0, 3, &first, &e) == STATUS_OK && first == 0);
    CHECK(write_stages(3, 4, &first, &e) == STATUS_OK && first == 3);
    CHECK(write_stages(4, 4, &first, &e) == STATUS_OK && first == 4);
    LedgerView v;
    char *path = file_join(dir, "ledger.safetensors");
    CHECK(ledger_view_open(path, &v, &e) == STATUS_OK && v.nll_dtype == DTYPE_F64);
    for (size_t i = 0; i < 10; i++)
        CHECK(ledger_view_nll(&v, i / 2, i % 2) == 0.1 + (double)(10 * (i / 2) + i % 2));
    ledger_view_close(&v);
    free(path);
    remove_dir();
}

static void a_full_disk_is_one_error(void)
{
    new_dir();
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {.rlim_cur = 30000, .rlim_max = 30000};
        setrlimit(RLIMIT_FSIZE, &limit);
        signal(SIGXFSZ, SIG_IGN);
        Error e = {""};
        int status = write_ledger("a=1", N_BLOCKS, &e);
        _exit(status == STATUS_FAILED && strstr(e.text, "reserve") ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    Error e;
    CHECK(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK);
    check_values();
    remove_dir();
}

/* The disk is full after four blocks: they stay, and the run goes on when there is space. */
static void a_disk_that_fills_keeps_what_was_done(void)
{
    StrBuf reference = {0};
    Error e;
    make_reference(&reference);
    new_dir();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        stop = STOP_FULL;
        stop_block = 4;
        e.text[0] = '\0';
        int status = write_ledger("a=1", N_BLOCKS, &e);
        _exit(status == STATUS_FAILED && strstr(e.text, "cannot write") && strstr(e.text, "4 of 9 blocks are kept") ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(write_ledger("a=1", 0, &e) == STATUS_OK);
    char *path = file_join(dir, "ledger.journal");
    StrBuf text = {0};
    CHECK(file_read(path, 4096, &text, &e) == STATUS_OK && strstr(text.data, "block 3 ") && !strstr(text.data, "block 4 "));
    CHECK(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK);
    check_same(&reference);
    strbuf_free(&text);
    strbuf_free(&reference);
    free(path);
    remove_dir();
}

static void a_missing_folder_is_one_error(void)
{
    Error e = {""};
    snprintf(dir, sizeof dir, "/tmp/strata-no-such-folder");
    CHECK(write_ledger("a=1", N_BLOCKS, &e) == STATUS_FAILED);
    CHECK(strstr(e.text, "cannot create") != NULL);
}

static void hostile_ledgers_are_refused(void)
{
    Error e;
    new_dir();
    CHECK(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK);
    char *path = file_join(dir, "ledger.safetensors");
    StrBuf bytes = {0};
    CHECK(file_read(path, 1 << 24, &bytes, &e) == STATUS_OK);
    for (size_t n = 0; n < bytes.len; n += n < 1600 ? 37 : 9973) {
        FILE *f = fopen(path, "w");
        fwrite(bytes.data, 1, n, f);
        fclose(f);
        LedgerView v;
        CHECK(ledger_view_open(path, &v, &e) != STATUS_OK);
    }
    Rng rng;
    rng_seed(&rng, 7, 0);
    size_t n_opened = 0;
    for (int round = 0; round < 3000; round++) { /* the header's bytes changed: refused, or whole */
        size_t at = rng_below(&rng, 1200);
        char saved = bytes.data[at];
        bytes.data[at] = "0123456789,:[]{}\"a \xff"[rng_below(&rng, 20)];
        FILE *f = fopen(path, "w");
        fwrite(bytes.data, 1, bytes.len, f);
        fclose(f);
        bytes.data[at] = saved;
        LedgerView v;
        if (ledger_view_open(path, &v, &e) != STATUS_OK) {
            CHECK(strlen(e.text) > 10 && !strchr(e.text, '\n'));
            continue;
        }
        n_opened++;
        CHECK(v.n_orders == N_ORDERS && v.n_tokens == N_TOKENS);
        CHECK(isfinite(ledger_view_nll(&v, N_ORDERS - 1, N_TOKENS - 1)) && v.byte_end[N_TOKENS - 1] >= 0);
        ledger_view_close(&v);
    }
    printf("        %zu of 3000 changed headers still make a ledger\n", n_opened);
    strbuf_free(&bytes);
    free(path);
    remove_dir();
}

/* Each array's digest in the metadata is that of its bytes; and a ledger killed after its digests were written, before it got its
 * name, goes on to the same bytes. */
static void metadata_hold_digests(void)
{
    static const char *const names[] = {"byte_start", "byte_end", "nll", "kl",     "word_start_logp", "rank",
                                        "top1",       "token_id", "row", "window", "position"};
    Error e;
    StrBuf whole = {0};
    TensorFile file;
    new_dir();
    CHECK(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK);
    read_ledger(&whole);
    char *path = file_join(dir, "ledger.safetensors");
    CHECK(tensor_file_open(path, &file, &e) == STATUS_OK);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const Tensor *t = tensor_file_find(&file, names[i]);
        Sha256 sha;
        char hex[65], expected[128];
        CHECK(t != NULL);
        sha256_begin(&sha);
        if (t)
            sha256_update(&sha, t->data, t->size_bytes);
        sha256_end(&sha, hex);
        snprintf(expected, sizeof expected, "\"sha256.%s\":\"%s\"", names[i], hex);
        CHECK_MSG(memmem(whole.data, whole.len, expected, strlen(expected)) != NULL, "%s", expected);
    }
    tensor_file_close(&file);
    free(path);
    remove_dir();
    size_t header = (size_t)(unsigned char)whole.data[0] + 256 * (size_t)(unsigned char)whole.data[1] + 8;
    new_dir();
    stop = STOP_NOWHERE;
    CHECK(write_ledger("a=1", N_BLOCKS - 1, &e) == STATUS_OK);
    overwrite("ledger.safetensors.part", 0, whole.data, header); /* the digests of the end, early */
    CHECK_MSG(write_ledger("a=1", N_BLOCKS, &e) == STATUS_OK, "%s", e.text);
    check_same(&whole);
    remove_dir();
    strbuf_free(&whole);
}

int main(void)
{
    RUN(a_whole_ledger_reads_back);
    RUN(stopped_after_any_block_it_goes_on);
    RUN(killed_at_random_it_ends_the_same);
    RUN(killed_where_it_hurts_it_ends_the_same);
    RUN(a_torn_journal_is_cut);
    RUN(damaged_blocks_are_redone);
    RUN(another_run_is_refused);
    RUN(two_writers_are_one_too_many);
    RUN(stages_share_a_ledger);
    RUN(a_full_disk_is_one_error);
    RUN(a_disk_that_fills_keeps_what_was_done);
    RUN(a_missing_folder_is_one_error);
    RUN(hostile_ledgers_are_refused);
    RUN(metadata_hold_digests);
    return test_finish();
}
