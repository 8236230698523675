/* prove_functions.c: `make prove`: all 2^32 floats through exp, log, sin and cos, each compared with the correctly rounded value (see
 * round_check.h). Prints a progress line and, for each function, how many were checked, close calls and wrong ones; wrong inputs are
 * listed. Exit status 1 when any is wrong or undecided. Arguments: names of functions (none: all). */
#include <stdio.h>
#include <string.h>

#include "engine/base/pool.h"
#include "engine/base/progress.h"
#include "tests/prove/round_check.h"

enum { SLICE_BITS = 20, N_SLICES = 1 << (32 - SLICE_BITS), AT_ONCE = 64 };

typedef struct Proof {
    const RoundFunction *function;
    size_t first_slice;
    RoundCounts counts[AT_ONCE];
} Proof;

static void prove_slice(void *arg, size_t task, int thread)
{
    Proof *p = arg;
    RoundCounts *c = &p->counts[task];
    uint32_t first = (uint32_t)(p->first_slice + task) << SLICE_BITS;
    (void)thread;
    *c = (RoundCounts){0};
    for (uint32_t i = 0; i < 1u << SLICE_BITS; i++) {
        uint64_t before = c->wrong, open_before = c->undecided;
        round_check(p->function, first + i, c);
        if (c->undecided != open_before)
            fprintf(stderr, "%s(%a), bits %08x: undecided\n", p->function->name, (double)exact_of_bits_f32(first + i),
                    (unsigned)(first + i));
        if (c->wrong != before)
            fprintf(stderr, "%s(%a), bits %08x: %a is not the nearest float\n", p->function->name,
                    (double)exact_of_bits_f32(first + i), (unsigned)(first + i),
                    (double)p->function->ours(exact_of_bits_f32(first + i)));
    }
}

static bool prove(const RoundFunction *f, Pool *pool)
{
    Proof p = {.function = f};
    RoundCounts all = {0};
    double begin = progress_now_s(), told = begin;
    for (p.first_slice = 0; p.first_slice < N_SLICES; p.first_slice += AT_ONCE) {
        pool_run(pool, prove_slice, &p, AT_ONCE);
        for (int i = 0; i < AT_ONCE; i++) {
            all.checked += p.counts[i].checked;
            all.close += p.counts[i].close;
            all.undecided += p.counts[i].undecided;
            all.wrong += p.counts[i].wrong;
        }
        double now = progress_now_s();
        if (now - told > 10) {
            double share = (double)(p.first_slice + AT_ONCE) / N_SLICES;
            fprintf(stderr, "%s: %.0f %%, %.0f s left\n", f->name, 100 * share, (now - begin) * (1 - share) / share);
            told = now;
        }
    }
    printf("%s: %llu floats, %llu close calls, %llu undecided, %llu wrong, %.0f s\n", f->name, (unsigned long long)all.checked,
           (unsigned long long)all.close, (unsigned long long)all.undecided, (unsigned long long)all.wrong,
           progress_now_s() - begin);
    fflush(stdout);
    return all.checked == (uint64_t)1 << 32 && !all.undecided && !all.wrong;
}

int main(int argc, char **argv)
{
    Error e;
    Pool *pool;
    bool right = true;
    if (pool_open(0, &pool, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    for (int i = 0; i < ROUND_N_FUNCTIONS; i++) {
        bool asked = argc == 1;
        for (int a = 1; a < argc; a++)
            asked = asked || strcmp(argv[a], round_functions[i].name) == 0;
        if (asked)
            right = prove(&round_functions[i], pool) && right;
    }
    pool_close(pool);
    return right ? 0 : 1;
}
