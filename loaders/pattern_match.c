/* pattern_match.c: the backtracking matcher, with a stack of its own: repeats of a class are one entry each. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "loaders/pattern_program.h"

/* Another way to go on: at op with the text at pos; for a greedy repeat every end down to `low` is left, for a lazy one every
 * end up to the class's and the count's. */
typedef struct PatternTry {
    uint32_t op;
    enum { TRY_PLAIN, TRY_SHORTER, TRY_LONGER, TRY_MARK } kind;
    size_t pos, low;
    uint32_t left; /* TRY_LONGER: characters that may still be added */
} PatternTry;

void pattern_memory_free(PatternMemory *m)
{
    free(m->tries);
    memset(m, 0, sizeof *m);
}

static bool push(PatternMemory *m, PatternTry t)
{
    if (m->n == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 64;
        PatternTry *tries = realloc(m->tries, cap * sizeof *tries);
        if (!tries)
            return false;
        m->tries = tries;
        m->cap = cap;
    }
    m->tries[m->n++] = t;
    return true;
}

static size_t step(const PatternClass *set, const char *s, size_t len, size_t pos)
{
    uint32_t x;
    if (pos >= len)
        return 0;
    unsigned char byte = (unsigned char)s[pos];
    if (byte < 128)
        return set->ascii[byte >> 5] >> (byte & 31) & 1;
    size_t n = utf8_decode(s + pos, len - pos, &x);
    return n && pattern_class_has(set, x) ? n : 0;
}

static size_t before(const char *s, size_t pos)
{
    pos--;
    while (pos > 0 && ((unsigned char)s[pos] & 0xc0) == 0x80)
        pos--;
    return pos;
}

static int run(const Pattern *r, PatternMemory *m, const char *s, size_t len, uint32_t op, size_t pos, size_t *end);

/* One instruction. 1: go on, 0: this way failed, -1: no memory. */
static int execute(const Pattern *r, PatternMemory *m, const char *s, size_t len, uint32_t *at, size_t *pos)
{
    const Op *op = &r->ops[*at];
    size_t n, low, ignored;
    uint32_t x, count;
    int found;
    switch (op->code) {
    case OP_CLASS:
        n = step(&r->sets[op->set], s, len, *pos);
        *pos += n;
        ++*at;
        return n > 0;
    case OP_REPEAT:
        low = *pos;
        ++*at;
        for (count = 0; count < (op->greed == LAZY ? op->least : op->most); count++) {
            n = step(&r->sets[op->set], s, len, *pos);
            if (!n)
                break;
            *pos += n;
            if (count + 1 == op->least)
                low = *pos;
        }
        if (count < op->least)
            return 0;
        if (op->greed == LAZY)
            return op->most > op->least &&
                           !push(m,
                                 (PatternTry){
                                     .op = *at, .kind = TRY_LONGER, .pos = *pos, .left = op->most - op->least, .low = op->set})
                       ? -1
                       : 1;
        if (op->greed == GREEDY && *pos > low &&
            !push(m, (PatternTry){.op = *at, .kind = TRY_SHORTER, .pos = *pos, .low = low}))
            return -1;
        return 1;
    case OP_SPLIT:
        *at = op->a;
        return push(m, (PatternTry){.op = op->b, .kind = TRY_PLAIN, .pos = *pos}) ? 1 : -1;
    case OP_JUMP:
        *at = op->a;
        return 1;
    case OP_LOOK:
        found = run(r, m, s, len, *at + 1, *pos, &ignored);
        *at = op->a;
        return found < 0 ? -1 : found != op->negative;
    case OP_BEHIND:
        n = *pos ? before(s, *pos) : 0;
        ++*at;
        return (*pos && utf8_decode(s + n, len - n, &x) && pattern_class_has(&r->sets[op->set], x)) != op->negative;
    case OP_BEGIN:
        ++*at;
        return *pos == 0 || (!op->negative && s[*pos - 1] == '\n' && *pos < len);
    case OP_END:
        ++*at;
        return *pos == len || (!op->negative && s[*pos] == '\n');
    case OP_MARK:
        ++*at;
        return push(m, (PatternTry){.kind = TRY_MARK}) ? 1 : -1;
    case OP_CUT:
        ++*at;
        while (m->tries[--m->n].kind != TRY_MARK)
            ;
        return 1;
    case OP_MATCH:
        break;
    }
    return 0;
}

/* The next way on the stack above base: 1, or 0 when there is none. */
static int retry(const Pattern *r, PatternMemory *m, size_t base, const char *s, size_t len, uint32_t *at, size_t *pos)
{
    while (m->n > base) {
        PatternTry *t = &m->tries[m->n - 1];
        *at = t->op;
        switch (t->kind) {
        case TRY_MARK:
            m->n--;
            continue;
        case TRY_PLAIN:
            *pos = t->pos;
            m->n--;
            return 1;
        case TRY_SHORTER:
            *pos = t->pos = before(s, t->pos);
            if (t->pos == t->low)
                m->n--;
            return 1;
        case TRY_LONGER: {
            size_t n = t->left ? step(&r->sets[t->low], s, len, t->pos) : 0;
            if (!n) {
                m->n--;
                continue;
            }
            *pos = t->pos += n;
            if (t->left != UINT32_MAX)
                t->left--;
            return 1;
        }
        }
    }
    return 0;
}

static int run(const Pattern *r, PatternMemory *m, const char *s, size_t len, uint32_t op, size_t pos, size_t *end)
{
    size_t base = m->n;
    for (;;) {
        if (r->ops[op].code == OP_MATCH) {
            m->n = base;
            *end = pos;
            return 1;
        }
        int status = execute(r, m, s, len, &op, &pos);
        if (status < 0)
            return -1;
        if (status == 0 && !retry(r, m, base, s, len, &op, &pos))
            return 0;
    }
}

int pattern_search(const Pattern *r, PatternMemory *m, const char *s, size_t len, size_t from, size_t *start, size_t *end)
{
    for (size_t pos = from;; pos++) {
        if (pos > from && pos < len && ((unsigned char)s[pos] & 0xc0) == 0x80)
            continue;
        int found = run(r, m, s, len, 0, pos, end);
        if (found) {
            *start = pos;
            return found;
        }
        if (pos >= len)
            return 0;
    }
}
