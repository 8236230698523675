/* test.h: the harness of the C tests. A test program is a main() that calls RUN(function) for each test and returns
 * test_finish(). A failed check prints file, line and values; the test goes on, so that one run shows everything. The last
 * line is 'N passed, N failed, N skipped', counting tests (functions). Skips are failures under STRICT=1. */
#ifndef STRATA_TESTS_TEST_H
#define STRATA_TESTS_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_n_passed, test_n_failed, test_n_skipped;
static int test_n_bad; /* failed checks of the running test */
static bool test_skipped;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            test_n_bad++; \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
        } \
    } while (0)

/* Like CHECK, with a printf message that shows the values. */
#define CHECK_MSG(condition, ...) \
    do { \
        if (!(condition)) { \
            test_n_bad++; \
            printf("%s:%d: failed: %s: ", __FILE__, __LINE__, #condition); \
            printf(__VA_ARGS__); \
            printf("\n"); \
        } \
    } while (0)

#define CHECK_STR(got, expected) CHECK_MSG(strcmp((got), (expected)) == 0, "got \"%s\", expected \"%s\"", (got), (expected))
/* NaN fails. */
#define CHECK_NEAR(got, expected, tolerance) \
    CHECK_MSG(fabs((double)(got) - (double)(expected)) <= (double)(tolerance), "got %.9g, expected %.9g", (double)(got), \
              (double)(expected))

#define SKIP(reason) \
    do { \
        printf("skipped: %s\n", reason); \
        test_skipped = true; \
        return; \
    } while (0)

#define RUN(function) \
    do { \
        test_n_bad = 0; \
        test_skipped = false; \
        function(); \
        const char *strict = getenv("STRICT"); \
        bool is_strict = strict && strict[0] == '1'; \
        if (test_n_bad || (test_skipped && is_strict)) \
            test_n_failed++; \
        else if (test_skipped) \
            test_n_skipped++; \
        else \
            test_n_passed++; \
        printf("%s %s\n", test_n_bad ? "FAILED " : test_skipped ? "skipped" : "ok     ", #function); \
        fflush(stdout); \
    } while (0)

static inline int test_finish(void)
{
    printf("%d passed, %d failed, %d skipped\n", test_n_passed, test_n_failed, test_n_skipped);
    return test_n_failed ? 1 : 0;
}

#endif
