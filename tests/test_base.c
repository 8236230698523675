/* test_base.c: what is small in engine/base: errors, sizes, types, arena, generator, hashes, pool, progress. References:
 * PCG64 and random draws from numpy (how, at the test), SHA-256 from FIPS 180-4 and NIST's vectors. */
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/checked.h"
#include "engine/base/dtype.h"
#include "engine/base/error.h"
#include "engine/base/pool.h"
#include "engine/base/progress.h"
#include "engine/base/rng.h"
#include "engine/base/sha256.h"
#include "engine/base/sha256_rounds.h"
#include "engine/base/utf8.h"
#include "tests/test.h"

/* ---------------------------------------------------------------- error */

static void test_error_escapes(void)
{
    Error e;
    CHECK(error_set(&e, STATUS_USAGE, "%s: expected %d",
                    "a\nb\x01\x7f\xff"
                    "c\xc3\xa9\xe2\x80\xa8\xc2\x85",
                    3) == STATUS_USAGE);
    CHECK_STR(e.text, "a\\x0ab\\x01\\x7f\\xffc\xc3\xa9\\xe2\\x80\\xa8\\xc2\\x85: expected 3");
    CHECK(error_prefix(&e, STATUS_FAILED, "file\t%d", 7) == STATUS_FAILED);
    CHECK_STR(e.text, "file\\x097: a\\x0ab\\x01\\x7f\\xffc\xc3\xa9\\xe2\\x80\\xa8\\xc2\\x85: expected 3");
    CHECK(error_set(NULL, STATUS_FAILED, "%d", 1) == STATUS_FAILED);
    CHECK(error_prefix(NULL, STATUS_FAILED, "%d", 1) == STATUS_FAILED);
}

static void test_error_truncates(void)
{
    /* Texts of every length and kind around the limit stay valid UTF-8, terminated, and end in dots when cut. */
    static const char *const units[] = {"a", "\xc3\xa9", "\xf0\x9f\x98\x80", "\n", "\xff"};
    static const size_t shown[] = {1, 2, 4, 4, 4};
    for (size_t u = 0; u < 5; u++) {
        size_t unit_len = strlen(units[u]);
        for (size_t n = 1020 / shown[u] - 3; n < 1300; n++) {
            char *text = calloc(n, unit_len + 1);
            for (size_t i = 0; i < n; i++)
                memcpy(text + i * unit_len, units[u], unit_len);
            Error e;
            memset(e.text, 'x', sizeof e.text);
            error_set(&e, STATUS_FAILED, "%s", text);
            free(text);
            size_t len = strnlen(e.text, sizeof e.text), bad;
            CHECK_MSG(len < sizeof e.text && utf8_valid(e.text, len, &bad), "unit %zu, n %zu", u, n);
            if (n * shown[u] < sizeof e.text)
                CHECK_MSG(len == n * shown[u], "unit %zu, n %zu: length %zu", u, n, len);
            else
                CHECK_MSG(len > sizeof e.text - 8 && strcmp(e.text + len - 3, "...") == 0, "unit %zu, n %zu", u, n);
        }
    }
    Error e;
    error_set(&e, STATUS_FAILED, "%0*d", 5000, 1);
    CHECK(strlen(e.text) == sizeof e.text - 1);
    for (int i = 0; i < 300; i++)
        error_prefix(&e, STATUS_FAILED, "folder/%d", i);
    CHECK(strncmp(e.text, "folder/299: folder/298: ", 24) == 0 && strlen(e.text) == sizeof e.text - 1);
}

/* ---------------------------------------------------------------- checked, dtype, arena */

static void test_checked(void)
{
    size_t x;
    CHECK(checked_mul(1u << 16, 1u << 16, &x) && x == (size_t)1 << 32);
    CHECK(!checked_mul(SIZE_MAX / 2 + 1, 2, &x));
    CHECK(checked_add(SIZE_MAX - 1, 1, &x) && x == SIZE_MAX);
    CHECK(!checked_add(SIZE_MAX, 1, &x));
    CHECK(checked_range(3, 4, 7) && !checked_range(4, 4, 7) && checked_range(7, 0, 7) && !checked_range(8, 0, 7));
    CHECK(!checked_range(1, SIZE_MAX, 7) && !checked_range(SIZE_MAX, 1, 7));
    CHECK(checked_align(17, 16, &x) && x == 32);
    CHECK(checked_align(32, 16, &x) && x == 32);
    CHECK(!checked_align(SIZE_MAX - 3, 16, &x));
}

static void test_dtype(void)
{
    static const struct {
        DType type;
        const char *name;
        size_t elems, bytes;
        bool safetensors;
    } want[] = {
        {DTYPE_F64, "F64", 1, 8, true},
        {DTYPE_F32, "F32", 1, 4, true},
        {DTYPE_F16, "F16", 1, 2, true},
        {DTYPE_BF16, "BF16", 1, 2, true},
        {DTYPE_I64, "I64", 1, 8, true},
        {DTYPE_I32, "I32", 1, 4, true},
        {DTYPE_I16, "I16", 1, 2, true},
        {DTYPE_I8, "I8", 1, 1, true},
        {DTYPE_U8, "U8", 1, 1, true},
        {DTYPE_BOOL, "BOOL", 1, 1, true},
        {DTYPE_Q4_0, "Q4_0", 32, 18, false},
        {DTYPE_Q4_1, "Q4_1", 32, 20, false},
        {DTYPE_Q8_0, "Q8_0", 32, 34, false},
        {DTYPE_Q5_0, "Q5_0", 32, 22, false},
        {DTYPE_Q5_1, "Q5_1", 32, 24, false},
        {DTYPE_Q2_K, "Q2_K", 256, 84, false},
        {DTYPE_Q3_K, "Q3_K", 256, 110, false},
        {DTYPE_Q4_K, "Q4_K", 256, 144, false},
        {DTYPE_Q5_K, "Q5_K", 256, 176, false},
        {DTYPE_Q6_K, "Q6_K", 256, 210, false},
        {DTYPE_Q8_K, "Q8_K", 256, 292, false},
        {DTYPE_IQ4_NL, "IQ4_NL", 32, 18, false},
        {DTYPE_IQ4_XS, "IQ4_XS", 256, 136, false},
    };
    CHECK(sizeof want / sizeof want[0] == DTYPE_COUNT - 1);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        DType t = want[i].type, found = DTYPE_NONE;
        CHECK_STR(dtype_name(t), want[i].name);
        CHECK(dtype_block_elems(t) == want[i].elems && dtype_block_bytes(t) == want[i].bytes);
        CHECK(dtype_from_name(want[i].name, strlen(want[i].name), &found) == want[i].safetensors);
        CHECK(!want[i].safetensors || found == t);
        size_t bytes;
        CHECK(dtype_bytes(t, 512, &bytes) && bytes == 512 / want[i].elems * want[i].bytes);
        CHECK(dtype_bytes(t, 33, &bytes) == (want[i].elems == 1));
        CHECK(dtype_bytes(t, SIZE_MAX / 256 * 256, &bytes) == (want[i].bytes <= want[i].elems));
    }
    DType t;
    size_t bytes;
    CHECK(!dtype_from_name("F3", 2, &t) && !dtype_from_name("F322", 4, &t) && !dtype_from_name("none", 4, &t));
    CHECK(!dtype_from_name("", 0, &t) && dtype_from_name("F32xyz", 3, &t) && t == DTYPE_F32);
    CHECK(!dtype_bytes(DTYPE_NONE, 1, &bytes) && !dtype_bytes(DTYPE_COUNT, 1, &bytes));
    CHECK_STR(dtype_name((DType)99), "none");
}

static void test_arena(void)
{
    Arena a = {0};
    enum { N = 3000 };
    unsigned char *pieces[N];
    size_t sizes[N];
    Rng r;
    rng_seed(&r, 1, 1);
    for (int i = 0; i < N; i++) {
        sizes[i] = (size_t)rng_below(&r, i % 50 == 0 ? 100000 : 100);
        pieces[i] = arena_alloc(&a, sizes[i]);
        CHECK(pieces[i] && (uintptr_t)pieces[i] % 16 == 0);
        for (size_t k = 0; k < sizes[i]; k++)
            CHECK(pieces[i][k] == 0);
        memset(pieces[i], i & 255, sizes[i]);
    }
    for (int i = 0; i < N; i++) { /* nothing moved, nothing overlaps */
        for (size_t k = 0; k < sizes[i]; k++)
            CHECK(pieces[i][k] == (i & 255));
    }
    CHECK(a.total_bytes > 0);
    CHECK(!arena_array(&a, SIZE_MAX / 2, 3) && !arena_alloc(&a, SIZE_MAX) && !arena_alloc(&a, SIZE_MAX - 40));
    char *s = arena_strndup(&a, "abcdef", 3);
    CHECK(s && strcmp(s, "abc") == 0);
    s = arena_strndup(&a, NULL, 0);
    CHECK(s && *s == '\0');
    arena_free(&a);
    CHECK(!a.chunk && a.total_bytes == 0);
    arena_free(&a);
    arena_free(NULL);
}

/* ---------------------------------------------------------------- rng */

/* The numbers of the next tests come from numpy 2.4.6: PCG64 with state and inc set as rng.h says, where S and I follow from
 * seed and stream in Python integers; random_raw for the outputs, Generator.random for the uniforms, and below, shuffle and
 * normal by the formulas of rng.h over random_raw. The first row is also the sample output of the PCG reference code. */
static void test_rng_raw(void)
{
    static const struct {
        uint64_t seed, stream, out[4];
    } want[] = {
        {42, 54, {0x86b1da1d72062b68, 0x1304aa46c9853d39, 0xa3670e9e0dd50358, 0xf9090e529a7dae00}},
        {0, 0, {0xd4feb4e5a4bcfe09, 0xe85a7fe071b026e6, 0x3a5b9037fe928c11, 0x7b044380d100f216}},
        {UINT64_MAX, UINT64_MAX, {0xd647663e811bba63, 0x47d514fa3f5712eb, 0x7dbef47a6728bf46, 0xaf10d90c95febb06}},
    };
    for (size_t i = 0; i < 3; i++) {
        Rng r;
        rng_seed(&r, want[i].seed, want[i].stream);
        for (size_t k = 0; k < 4; k++)
            CHECK(rng_next(&r) == want[i].out[k]);
    }
}

static void test_rng_draws(void)
{
    Rng r;
    rng_seed(&r, 7, 1);
    CHECK(rng_uniform(&r) == 0x1.c1784534589fbp-1);
    CHECK(rng_uniform(&r) == 0x1.1077d030eedcap-1);
    CHECK(rng_uniform(&r) == 0x1.66c9b0f3fe078p-4);
    static const uint64_t n[8] = {1, 10, 1000, 3ull << 62, 3ull << 62, 3ull << 62, (1ull << 63) + 1, (1ull << 63) + 1};
    static const uint64_t below[8] = {
        0, 9, 397, 3183363788872619264u, 9739290949978211112u, 1140454217090174506, 4183425290764970241, 6051026562362381018};
    rng_seed(&r, 7, 2);
    for (int i = 0; i < 8; i++)
        CHECK(rng_below(&r, n[i]) == below[i]);
    int32_t items[10], shuffled[10] = {9, 6, 5, 2, 8, 4, 1, 3, 7, 0};
    for (int i = 0; i < 10; i++)
        items[i] = i;
    rng_seed(&r, 7, 3);
    rng_shuffle(&r, items, 10);
    CHECK(memcmp(items, shuffled, sizeof items) == 0);
    rng_shuffle(&r, items, 0);
    rng_shuffle(&r, items, 1);
    CHECK(memcmp(items, shuffled, sizeof items) == 0);
    rng_seed(&r, 7, 4); /* logarithm and cosine of two C libraries may differ in the last place */
    CHECK_NEAR(rng_normal(&r), 0.05406007277022056, 1e-15);
    CHECK_NEAR(rng_normal(&r), 0.26613631890430717, 1e-15);
    CHECK_NEAR(rng_normal(&r), -0.9666802403974778, 1e-15);
}

/* ---------------------------------------------------------------- sha256 */

static void compress_as_plain(void (*compress)(uint32_t state[8], const unsigned char *blocks, size_t n_blocks))
{
    unsigned char blocks[64 * 7 + 1];
    uint32_t state = 12345;
    for (size_t i = 0; i < sizeof blocks; i++) {
        state = state * 1664525u + 1013904223u;
        blocks[i] = (unsigned char)(state >> 24);
    }
    uint32_t a[8] = {1, 2, 3, 0x80000000u, 5, 0xffffffffu, 7, 8}, b[8];
    memcpy(b, a, sizeof a);
    for (size_t n = 0; n <= 7; n++) { /* unaligned, too */
        sha256_compress_plain(a, blocks + n % 2, n);
        compress(b, blocks + n % 2, n);
        CHECK(memcmp(a, b, sizeof a) == 0);
    }
}

static void test_sha256_rorx_agrees(void)
{
    if (!sha256_has_rorx())
        SKIP("this processor has no BMI2");
    compress_as_plain(sha256_compress_rorx);
}

static void test_sha256_instructions_agree(void)
{
    if (!sha256_has_instructions())
        SKIP("this processor has no SHA-256 instructions");
    compress_as_plain(sha256_compress_instructions);
}

/* FIPS 180-4 from its vector: the plain path itself, whatever the processor has. */
static void test_sha256_plain(void)
{
    static const unsigned char abc[64] = {'a', 'b', 'c', 0x80, [63] = 24};
    static const uint32_t want[8] = {0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223,
                                     0xb00361a3, 0x96177a9c, 0xb410ff61, 0xf20015ad};
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    sha256_compress_plain(state, abc, 1);
    CHECK(memcmp(state, want, sizeof want) == 0);
}

static void test_sha256(void)
{
    static const struct {
        const char *text;
        const char *hex;
    } want[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    Sha256 s;
    char hex[65];
    for (size_t i = 0; i < 4; i++) {
        sha256_begin(&s);
        sha256_update(&s, want[i].text, strlen(want[i].text));
        sha256_end(&s, hex);
        CHECK_STR(hex, want[i].hex);
    }
    char block[1000];
    memset(block, 'a', sizeof block);
    sha256_begin(&s);
    for (int i = 0; i < 1000; i++)
        sha256_update(&s, block, sizeof block);
    sha256_end(&s, hex);
    CHECK_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    for (size_t len = 0; len < 200; len++) { /* any cut gives what the whole gives */
        char whole[65];
        sha256_begin(&s);
        sha256_update(&s, block, len);
        sha256_end(&s, whole);
        for (size_t cut = 0; cut <= len; cut += 7) {
            sha256_begin(&s);
            sha256_update(&s, block, cut);
            sha256_update(&s, block + cut, len - cut);
            sha256_end(&s, hex);
            CHECK_STR(hex, whole);
        }
    }
}

/* ---------------------------------------------------------------- pool */

typedef struct Marks {
    atomic_int *runs;
    int *thread_of;
    int n_threads;
    int depth_check;
} Marks;

static void mark(void *arg, size_t task, int thread)
{
    Marks *m = arg;
    atomic_fetch_add(&m->runs[task], 1);
    m->thread_of[task] = thread;
}

static void test_pool_partition(void)
{
    for (int n_threads = 1; n_threads <= 7; n_threads++) {
        Pool *p = NULL;
        Error e = {{0}};
        CHECK_MSG(pool_open(n_threads, &p, &e) == 0, "%s", e.text);
        if (!p)
            return;
        CHECK(pool_threads(p) == n_threads);
        for (size_t n = 0; n < 40; n++) {
            atomic_int runs[40] = {0};
            int thread_of[40];
            Marks m = {.runs = runs, .thread_of = thread_of};
            pool_run(p, mark, &m, n);
            for (size_t i = 0; i < 40; i++)
                CHECK(runs[i] == (i < n));
            for (size_t i = 0; i < n && n > 1; i++)
                CHECK(thread_of[i] == (int)(i % (size_t)n_threads));
        }
        pool_close(p);
    }
    pool_close(NULL);
    Pool *p;
    Error e;
    CHECK(pool_open(-1, &p, &e) == STATUS_USAGE && !p);
    CHECK(pool_open(1000000, &p, &e) == STATUS_USAGE && !p);
}

static void add_one(void *arg, size_t task, int thread)
{
    (void)thread;
    ((uint64_t *)arg)[task * 8]++;
}

/* Many short runs, some after a pause in which the workers fall asleep: none is lost and each is complete on return. */
static void test_pool_many_runs(void)
{
    for (int n_threads = 2; n_threads <= 5; n_threads++) {
        Pool *p = NULL;
        if (pool_open(n_threads, &p, NULL)) {
            CHECK_MSG(false, "pool_open");
            return;
        }
        uint64_t counts[16 * 8] = {0};
        const int n_runs = n_threads == 2 ? 20000 : 2000;
        for (int i = 0; i < n_runs; i++) {
            pool_run(p, add_one, counts, 16);
            for (int k = 0; k < 16; k++)
                CHECK(counts[8 * k] == (uint64_t)i + 1);
            if (i % 500 == 0)
                usleep(300);
        }
        pool_close(p);
    }
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void test_pool_idle_costs_nothing(void)
{
    Pool *p = NULL;
    if (pool_open(2, &p, NULL)) {
        CHECK_MSG(false, "pool_open");
        return;
    }
    uint64_t counts[16 * 8] = {0};
    pool_run(p, add_one, counts, 16);
    double before = cpu_seconds();
    usleep(300000);
    double used = cpu_seconds() - before;
    CHECK_MSG(used < 0.05, "an idle pool used %.3f s of processor time in 0.3 s", used);
    pool_close(p);
}

static void test_pool_split(void)
{
    for (size_t total = 0; total < 70; total++) {
        for (size_t grain = 1; grain < 18; grain += 3) {
            for (size_t n = 1; n < 12; n++) {
                size_t at = 0, smallest = SIZE_MAX, largest = 0;
                for (size_t i = 0; i < n; i++) {
                    size_t begin, end;
                    pool_split(total, grain, n, i, &begin, &end);
                    CHECK(begin == at && end >= begin && end <= total);
                    CHECK(begin % grain == 0 || begin == total);
                    size_t units = (end - begin + grain - 1) / grain;
                    smallest = units < smallest ? units : smallest;
                    largest = units > largest ? units : largest;
                    at = end;
                }
                CHECK(at == total && largest - smallest <= 1);
            }
        }
    }
    size_t begin, end;
    pool_split(SIZE_MAX, 16, 3, 2, &begin, &end);
    CHECK(begin % 16 == 0 && end == SIZE_MAX && begin > SIZE_MAX / 2);
}

static void test_pool_default_threads(void)
{
    int n = pool_default_threads();
    CHECK_MSG(n >= 1 && n <= sysconf(_SC_NPROCESSORS_CONF), "%d", n);
}

/* ---------------------------------------------------------------- progress */

static void test_progress_time(void)
{
    static const struct {
        double seconds;
        const char *text;
    } want[] = {{0, "0 s"},           {12.4, "12 s"},         {59.6, "1 min 00 s"}, {200, "3 min 20 s"},
                {3840, "1 h 04 min"}, {7199.7, "2 h 00 min"}, {90000, "1 d 01 h"},  {-1, "unknown"},
                {NAN, "unknown"},     {INFINITY, "unknown"}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        char text[32];
        progress_format_time(want[i].seconds, text, sizeof text);
        CHECK_STR(text, want[i].text);
    }
    double a = progress_now_s(), b = progress_now_s();
    CHECK(b >= a && a > 0);
    Progress p;
    progress_begin(&p, "test", "tokens", 10, 0, true);
    progress_update(&p, 5);
    CHECK(p.done == 5 && !p.shown);
    progress_end(&p);
}

int main(void)
{
    RUN(test_error_escapes);
    RUN(test_error_truncates);
    RUN(test_checked);
    RUN(test_dtype);
    RUN(test_arena);
    RUN(test_rng_raw);
    RUN(test_rng_draws);
    RUN(test_sha256);
    RUN(test_sha256_rorx_agrees);
    RUN(test_sha256_instructions_agree);
    RUN(test_sha256_plain);
    RUN(test_pool_partition);
    RUN(test_pool_many_runs);
    RUN(test_pool_idle_costs_nothing);
    RUN(test_pool_split);
    RUN(test_pool_default_threads);
    RUN(test_progress_time);
    return test_finish();
}
