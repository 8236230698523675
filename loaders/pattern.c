/* pattern.c: the compiler from a regular expression to a small program. */
#include "loaders/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "loaders/pattern_program.h"
#include "loaders/unicode.h"

enum { MAX_OPS = 4096, MAX_DEPTH = 32, MAX_SETS = 512, MAX_COUNT = 1000 };

typedef struct Compiler {
    const char *at, *end, *pattern;
    Op ops[MAX_OPS];
    size_t n_ops;
    PatternClass sets[MAX_SETS];
    size_t n_sets;
    bool ignore_case;
    int depth;
    Error *error;
} Compiler;

static int fail(Compiler *c, const char *what)
{
    return error_set(c->error, STATUS_FAILED, "regular expression \"%.*s\": byte %zu: %s",
                     (int)(c->end - c->pattern > 300 ? 300 : c->end - c->pattern), c->pattern, (size_t)(c->at - c->pattern),
                     what);
}

static int emit(Compiler *c, Op op, uint32_t *index)
{
    if (c->n_ops == MAX_OPS)
        return fail(c, "the expression is too long");
    if (index)
        *index = (uint32_t)c->n_ops;
    c->ops[c->n_ops++] = op;
    return STATUS_OK;
}

static bool take(Compiler *c, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, text, n) != 0)
        return false;
    c->at += n;
    return true;
}

static int read_char(Compiler *c, uint32_t *out)
{
    size_t n = utf8_decode(c->at, (size_t)(c->end - c->at), out);
    if (!n)
        return fail(c, "expected a character");
    c->at += n;
    return STATUS_OK;
}

static int read_hex(Compiler *c, int digits, uint32_t *out)
{
    bool braces = take(c, "{");
    *out = 0;
    int n = 0;
    for (; (braces || n < digits) && c->at < c->end; n++, c->at++) {
        char x = *c->at;
        int value = x >= '0' && x <= '9'   ? x - '0'
                    : x >= 'a' && x <= 'f' ? x - 'a' + 10
                    : x >= 'A' && x <= 'F' ? x - 'A' + 10
                                           : -1;
        if (value < 0)
            break;
        *out = *out * 16 + (uint32_t)value;
        if (*out >= UNICODE_LIMIT)
            return fail(c, "a code point above U+10FFFF");
    }
    if (!n || (braces && !take(c, "}")))
        return fail(c, "expected hexadecimal digits");
    return STATUS_OK;
}

/* \p{Name}, \p{^Name}, \P{Name}, \pL after the letter p or P. */
static int read_property(Compiler *c, bool negated, PatternClass *out)
{
    const char *name;
    size_t len;
    if (take(c, "{")) {
        if (take(c, "^"))
            negated = !negated;
        name = c->at;
        while (c->at < c->end && *c->at != '}')
            c->at++;
        len = (size_t)(c->at - name);
        if (!take(c, "}"))
            return fail(c, "expected }");
    } else {
        name = c->at;
        len = c->at < c->end ? 1 : 0;
        c->at += len;
    }
    uint32_t mask = unicode_category_mask(name, len), first, last;
    PatternClass set = {0};
    if (mask) {
        pattern_class_add_categories(&set, mask);
    } else {
        int more = unicode_script_range(name, len, 0, &first, &last);
        if (more < 0)
            return fail(c, "an unknown property");
        for (size_t i = 0; unicode_script_range(name, len, i, &first, &last) > 0; i++)
            pattern_class_add(&set, first, last);
    }
    if (negated)
        pattern_class_negate(&set);
    pattern_class_add_class(out, &set);
    out->failed = out->failed || set.failed;
    pattern_class_free(&set);
    return STATUS_OK;
}

/* An escape that stands for a set or one character; the backslash is behind us. *single: the character, or UINT32_MAX. */
static int read_escape(Compiler *c, PatternClass *out, uint32_t *single)
{
    if (c->at >= c->end)
        return fail(c, "a backslash at the end");
    uint32_t x = 0;
    PatternClass set = {0};
    *single = UINT32_MAX;
    char letter = *c->at;
    switch (letter) {
    case 's':
    case 'S':
        pattern_class_add_space(&set);
        break;
    case 'd':
    case 'D':
        pattern_class_add_categories(&set, unicode_category_mask("Nd", 2));
        break;
    case 'w':
    case 'W':
        pattern_class_add_word(&set);
        break;
    case 'p':
    case 'P':
        c->at++;
        return read_property(c, letter == 'P', out);
    case 'n':
        x = '\n';
        break;
    case 'r':
        x = '\r';
        break;
    case 't':
        x = '\t';
        break;
    case 'f':
        x = '\f';
        break;
    case 'v':
        x = '\v';
        break;
    case 'u':
        c->at++;
        *single = 0;
        return read_hex(c, 4, single);
    case 'x':
        c->at++;
        *single = 0;
        return read_hex(c, 2, single);
    default:
        if ((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9'))
            return fail(c, "an escape that is not served");
        return read_char(c, single);
    }
    c->at++;
    if (x) {
        *single = x;
        return STATUS_OK;
    }
    if (letter >= 'A' && letter <= 'Z')
        pattern_class_negate(&set);
    pattern_class_add_class(out, &set);
    out->failed = out->failed || set.failed;
    pattern_class_free(&set);
    return STATUS_OK;
}

static int parse_class(Compiler *c, PatternClass *out);

static int parse_class_item(Compiler *c, PatternClass *set)
{
    uint32_t first = UINT32_MAX, last;
    if (take(c, "["))
        return parse_class(c, set);
    int status = take(c, "\\") ? read_escape(c, set, &first) : read_char(c, &first);
    if (status || first == UINT32_MAX)
        return status;
    last = first;
    if (c->end - c->at >= 2 && *c->at == '-' && c->at[1] != ']') {
        c->at++;
        PatternClass ignored = {0};
        status = take(c, "\\") ? read_escape(c, &ignored, &last) : read_char(c, &last);
        pattern_class_free(&ignored);
        if (!status && (last == UINT32_MAX || last < first))
            return fail(c, "a range that does not ascend");
    }
    pattern_class_add(set, first, last);
    return status;
}

/* After the opening bracket; nested classes and && as Oniguruma has them. */
static int parse_class(Compiler *c, PatternClass *out)
{
    if (++c->depth > MAX_DEPTH)
        return fail(c, "too many brackets inside each other");
    bool negated = take(c, "^"), has_left = false;
    PatternClass set = {0}, left = {0};
    int status = STATUS_OK;
    if (c->at < c->end && *c->at == ']') { /* a bracket that comes first stands for itself */
        pattern_class_add(&set, ']', ']');
        c->at++;
    }
    while (!status && !take(c, "]")) {
        if (c->at >= c->end) {
            status = fail(c, "expected ]");
        } else if (take(c, "&&")) {
            if (has_left)
                pattern_class_intersect(&left, &set);
            else
                pattern_class_add_class(&left, &set);
            has_left = true;
            pattern_class_free(&set);
        } else {
            status = parse_class_item(c, &set);
        }
    }
    if (has_left) {
        pattern_class_intersect(&set, &left);
        pattern_class_free(&left);
    }
    if (c->ignore_case)
        pattern_class_fold(&set);
    if (negated)
        pattern_class_negate(&set);
    pattern_class_add_class(out, &set);
    out->failed = out->failed || set.failed;
    pattern_class_free(&set);
    c->depth--;
    return status;
}

static int add_set(Compiler *c, PatternClass *set, uint32_t *index)
{
    pattern_class_finish(set);
    if (set->failed || c->n_sets == MAX_SETS) {
        pattern_class_free(set);
        return fail(c, "too many classes, or out of memory");
    }
    *index = (uint32_t)c->n_sets;
    c->sets[c->n_sets++] = *set;
    return STATUS_OK;
}

static int emit_set(Compiler *c, PatternClass *set)
{
    uint32_t index = 0;
    int status = add_set(c, set, &index);
    return status ? status : emit(c, (Op){.code = OP_CLASS, .set = index}, NULL);
}

static int emit_char(Compiler *c, uint32_t x)
{
    PatternClass set = {0};
    pattern_class_add(&set, x, x);
    if (c->ignore_case)
        pattern_class_fold(&set);
    return emit_set(c, &set);
}

static int parse_alternatives(Compiler *c);

static int parse_look(Compiler *c, bool negative)
{
    uint32_t at = 0;
    int status = emit(c, (Op){.code = OP_LOOK, .negative = negative}, &at);
    if (!status)
        status = parse_alternatives(c);
    if (!status)
        status = emit(c, (Op){.code = OP_MATCH}, NULL);
    c->ops[at].a = (uint32_t)c->n_ops;
    return status;
}

static int parse_behind(Compiler *c, bool negative)
{
    size_t before = c->n_ops;
    int status = parse_alternatives(c);
    if (!status && (c->n_ops != before + 1 || c->ops[before].code != OP_CLASS))
        status = fail(c, "lookbehind is served for one character only");
    if (!status) {
        c->ops[before].code = OP_BEHIND;
        c->ops[before].negative = negative;
    }
    return status;
}

/* After "(": the group, its closing parenthesis included. */
static int parse_group(Compiler *c)
{
    if (++c->depth > MAX_DEPTH)
        return fail(c, "too many groups inside each other");
    bool before = c->ignore_case;
    int status;
    if (take(c, "?=") || take(c, "?!")) {
        status = parse_look(c, c->at[-1] == '!');
    } else if (take(c, "?<=") || take(c, "?<!")) {
        status = parse_behind(c, c->at[-1] == '!');
    } else if (take(c, "?>")) {
        status = emit(c, (Op){.code = OP_MARK}, NULL);
        if (!status)
            status = parse_alternatives(c);
        if (!status)
            status = emit(c, (Op){.code = OP_CUT}, NULL);
    } else {
        if (take(c, "?i)")) { /* to the end of the enclosing group */
            c->ignore_case = true;
            c->depth--;
            return STATUS_OK;
        }
        if (take(c, "?i:"))
            c->ignore_case = true;
        else if (take(c, "?-i:"))
            c->ignore_case = false;
        else if (!take(c, "?:") && c->at < c->end && *c->at == '?')
            return fail(c, "a group that is not served");
        status = parse_alternatives(c);
    }
    c->ignore_case = before;
    c->depth--;
    if (!status && !take(c, ")"))
        status = fail(c, "expected )");
    return status;
}

static int parse_atom(Compiler *c)
{
    if (take(c, "("))
        return parse_group(c);
    if (take(c, "^") || take(c, "\\A"))
        return emit(c, (Op){.code = OP_BEGIN, .negative = c->at[-1] == 'A'}, NULL);
    if (take(c, "$") || take(c, "\\z"))
        return emit(c, (Op){.code = OP_END, .negative = c->at[-1] == 'z'}, NULL);
    PatternClass set = {0};
    if (take(c, "[")) {
        int status = parse_class(c, &set);
        return status ? status : emit_set(c, &set);
    }
    if (take(c, ".")) {
        pattern_class_add(&set, '\n', '\n');
        pattern_class_negate(&set);
        return emit_set(c, &set);
    }
    uint32_t x;
    if (take(c, "\\")) {
        int status = read_escape(c, &set, &x);
        if (status || x != UINT32_MAX) {
            pattern_class_free(&set);
            return status ? status : emit_char(c, x);
        }
        if (c->ignore_case)
            pattern_class_fold(&set);
        return emit_set(c, &set);
    }
    if (c->at < c->end && strchr("*+?", *c->at))
        return fail(c, "nothing to repeat");
    int status = read_char(c, &x);
    return status ? status : emit_char(c, x);
}

static bool parse_number(Compiler *c, uint32_t *out)
{
    const char *start = c->at;
    *out = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9' && *out <= MAX_COUNT; c->at++)
        *out = *out * 10 + (uint32_t)(*c->at - '0');
    return c->at > start;
}

/* Reads ? * + {m,n} and what follows; false when there is none. "{" that is no count is a character, as in Oniguruma. */
static bool parse_count(Compiler *c, uint32_t *least, uint32_t *most, Greed *greed)
{
    const char *start = c->at;
    bool braces = false;
    if (take(c, "?"))
        *least = 0, *most = 1;
    else if (take(c, "*"))
        *least = 0, *most = UINT32_MAX;
    else if (take(c, "+"))
        *least = 1, *most = UINT32_MAX;
    else if (take(c, "{")) {
        braces = true;
        bool low = parse_number(c, least), comma = take(c, ","), high = comma && parse_number(c, most);
        if (!low)
            *least = 0;
        if (!comma)
            *most = *least;
        else if (!high)
            *most = UINT32_MAX;
        if ((!low && !high) || !take(c, "}")) {
            c->at = start;
            return false;
        }
    } else {
        return false;
    }
    *greed = take(c, "?") ? LAZY : !braces && take(c, "+") ? POSSESSIVE : GREEDY;
    return true;
}

/* Copies the instructions [from, from + n) to the end, targets moved along. */
static int copy_ops(Compiler *c, size_t from, size_t n)
{
    uint32_t shift = (uint32_t)(c->n_ops - from);
    for (size_t i = 0; i < n; i++) {
        Op op = c->ops[from + i];
        if (op.code == OP_SPLIT || op.code == OP_JUMP || op.code == OP_LOOK) {
            op.a += shift;
            op.b += shift;
        }
        int status = emit(c, op, NULL);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* True when the instructions can match nothing: then a loop over them might never end. */
static bool may_be_empty(const Compiler *c, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        OpCode code = c->ops[i].code;
        if (code == OP_SPLIT || code == OP_JUMP) { /* alternation: judge by the first branch being all there is */
            continue;
        }
        if (code == OP_LOOK) {
            i = c->ops[i].a - 1;
            continue;
        }
        if (code == OP_CLASS || (code == OP_REPEAT && c->ops[i].least > 0))
            return false;
    }
    return true;
}

static int emit_split(Compiler *c, Greed greed, uint32_t *at)
{
    return emit(c, (Op){.code = OP_SPLIT, .greed = greed}, at);
}

static void set_split(Compiler *c, uint32_t at, uint32_t body, uint32_t after)
{
    bool lazy = c->ops[at].greed == LAZY;
    c->ops[at].a = lazy ? after : body;
    c->ops[at].b = lazy ? body : after;
}

/* The instructions [from, n_ops) repeated. The first copy is there. */
static int repeat_group(Compiler *c, size_t from, uint32_t least, uint32_t most, Greed greed)
{
    size_t n = c->n_ops - from;
    if (most == UINT32_MAX && may_be_empty(c, from, c->n_ops))
        return fail(c, "a repeated group that may be empty is not served");
    Op body[256];
    if (n > 256)
        return fail(c, "a repeated group is too long");
    memcpy(body, c->ops + from, n * sizeof *body);
    c->n_ops = from;
    int status = greed == POSSESSIVE ? emit(c, (Op){.code = OP_MARK}, NULL) : STATUS_OK;
    uint32_t optional = most == UINT32_MAX ? 1 : most - least, splits[MAX_COUNT];
    for (uint32_t i = 0; !status && i < least + optional; i++) {
        if (i >= least && (status = emit_split(c, greed, &splits[i - least])))
            break;
        size_t at = c->n_ops;
        for (size_t k = 0; !status && k < n; k++) { /* body's targets are relative to `from` */
            Op op = body[k];
            if (op.code == OP_SPLIT || op.code == OP_JUMP || op.code == OP_LOOK) {
                op.a = (uint32_t)(op.a - from + at);
                op.b = (uint32_t)(op.b - from + at);
            }
            status = emit(c, op, NULL);
        }
    }
    if (!status && most == UINT32_MAX)
        status = emit(c, (Op){.code = OP_JUMP, .a = splits[0]}, NULL);
    for (uint32_t i = 0; !status && i < optional; i++)
        set_split(c, splits[i], splits[i] + 1, (uint32_t)c->n_ops);
    if (!status && greed == POSSESSIVE)
        status = emit(c, (Op){.code = OP_CUT}, NULL);
    return status;
}

static int parse_repeated(Compiler *c)
{
    size_t from = c->n_ops;
    uint32_t least, most;
    Greed greed;
    int status = parse_atom(c);
    while (!status && parse_count(c, &least, &most, &greed)) {
        if (most < least || (most != UINT32_MAX && most > MAX_COUNT) || least > MAX_COUNT)
            return fail(c, "a count that is not served");
        if (c->n_ops == from)
            continue;
        if (c->n_ops == from + 1 && c->ops[from].code == OP_CLASS)
            c->ops[from] = (Op){.code = OP_REPEAT, .greed = greed, .least = least, .most = most, .set = c->ops[from].set};
        else
            status = repeat_group(c, from, least, most, greed);
    }
    return status;
}

static int parse_alternatives(Compiler *c)
{
    size_t from = c->n_ops;
    uint32_t jumps[256];
    size_t n_jumps = 0;
    for (;;) {
        int status = STATUS_OK;
        while (!status && c->at < c->end && *c->at != '|' && *c->at != ')')
            status = parse_repeated(c);
        if (status)
            return status;
        if (!take(c, "|"))
            break;
        /* Make room for a split before this branch, then jump over the rest after it. */
        if (n_jumps == 256 || c->n_ops + 2 > MAX_OPS)
            return fail(c, "too many alternatives");
        size_t n = c->n_ops - from;
        if ((status = copy_ops(c, from, n)))
            return status;
        memmove(c->ops + from + 1, c->ops + c->n_ops - n, n * sizeof *c->ops);
        c->n_ops -= n;
        for (size_t i = from + 1; i < from + 1 + n; i++) { /* copied to distance n, moved to distance 1 */
            Op *op = &c->ops[i];
            if (op->code == OP_SPLIT || op->code == OP_JUMP || op->code == OP_LOOK) {
                op->a = (uint32_t)(op->a - n + 1);
                op->b = (uint32_t)(op->b - n + 1);
            }
        }
        c->n_ops += 1;
        if ((status = emit(c, (Op){.code = OP_JUMP}, &jumps[n_jumps])))
            return status;
        n_jumps++;
        c->ops[from] = (Op){.code = OP_SPLIT, .a = (uint32_t)from + 1, .b = (uint32_t)c->n_ops};
        from = c->n_ops;
    }
    for (size_t i = 0; i < n_jumps; i++)
        c->ops[jumps[i]].a = (uint32_t)c->n_ops;
    return STATUS_OK;
}

static int store(Compiler *c, Arena *arena, Pattern **out)
{
    Pattern *r = arena_alloc(arena, sizeof *r);
    if (r) {
        r->ops = arena_array(arena, c->n_ops, sizeof *r->ops);
        r->sets = arena_array(arena, c->n_sets ? c->n_sets : 1, sizeof *r->sets);
    }
    if (!r || !r->ops || !r->sets)
        return fail(c, "out of memory");
    memcpy(r->ops, c->ops, c->n_ops * sizeof *r->ops);
    r->n_ops = c->n_ops;
    r->n_sets = c->n_sets;
    for (size_t i = 0; i < c->n_sets; i++) {
        r->sets[i] = c->sets[i];
        r->sets[i].ranges = arena_array(arena, c->sets[i].n ? c->sets[i].n : 1, sizeof(PatternRange));
        if (!r->sets[i].ranges)
            return fail(c, "out of memory");
        if (c->sets[i].n)
            memcpy(r->sets[i].ranges, c->sets[i].ranges, c->sets[i].n * sizeof(PatternRange));
    }
    *out = r;
    return STATUS_OK;
}

int pattern_compile(const char *pattern, size_t len, Arena *arena, Pattern **out, Error *e)
{
    Compiler *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(e, STATUS_FAILED, "regular expression: out of memory");
    c->pattern = c->at = pattern;
    c->end = pattern + len;
    c->error = e;
    int status = parse_alternatives(c);
    if (!status && c->at < c->end)
        status = fail(c, "a parenthesis that was never opened");
    if (!status)
        status = emit(c, (Op){.code = OP_MATCH}, NULL);
    if (!status)
        status = store(c, arena, out);
    for (size_t i = 0; i < c->n_sets; i++)
        pattern_class_free(&c->sets[i]);
    free(c);
    return status;
}
