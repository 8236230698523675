/* options.c: reading the command line against a table. */
#include "tools/options.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(StrataError *e, const char *format, const char *a, const char *b)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(e->text, sizeof e->text, format, a, b);
#pragma GCC diagnostic pop
    return 2;
}

/* Equal with '-' and '_' alike; the option's text ends at '=' or its end. */
static int same_name(const char *known, const char *given)
{
    size_t i = 0;
    for (; known[i] && given[i] && given[i] != '='; i++) {
        char a = known[i] == '-' ? '_' : known[i], b = given[i] == '-' ? '_' : given[i];
        if (a != b)
            return 0;
    }
    return !known[i] && (!given[i] || given[i] == '=');
}

/* Levenshtein distance, for "did you mean". */
static size_t distance(const char *a, const char *b)
{
    size_t row[64], n = strlen(b);
    if (n >= 63)
        return n;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] && a[i - 1] != '='; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t up = row[j], change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = up;
            row[j] = change < up + 1 ? change : up + 1;
            row[j] = row[j] < row[j - 1] + 1 ? row[j] : row[j - 1] + 1;
        }
    }
    return row[n];
}

/* The option that a word names; NULL when none. */
static const Option *find(const Option *options, size_t n, const char *given)
{
    for (size_t i = 0; i < n; i++)
        if (same_name(options[i].name, given))
            return &options[i];
    return NULL;
}

/* Names the nearest option when it is near enough to be a slip of the fingers: a third of its letters may differ. */
static int unknown(const Option *options, size_t n, const char *given, const char *command, StrataError *e)
{
    const char *nearest = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(given, options[i].name);
        if (d < best && 3 * d <= strlen(options[i].name)) {
            best = d;
            nearest = options[i].name;
        }
    }
    if (nearest)
        return fail(e, "unknown option \"%s\"; did you mean %s?", given, nearest);
    return fail(e, "unknown option \"%s\"; `strata help %s` lists the options", given, command);
}

static int parse_count(const char *name, const char *text, uint64_t *out, StrataError *e)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno == ERANGE && text[0] != '-')
        return fail(e, "%s: \"%s\" is too large", name, text);
    if (end == text || *end || errno || strchr(text, '-'))
        return fail(e, "%s: \"%s\", expected a whole number", name, text);
    *out = value;
    return 0;
}

static int parse_bytes(const char *name, const char *text, uint64_t *out, StrataError *e)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end), unit = 1;
    if (*end == 'K' || *end == 'k')
        unit = 1024.0, end++;
    else if (*end == 'M' || *end == 'm')
        unit = 1024.0 * 1024, end++;
    else if (*end == 'G' || *end == 'g')
        unit = 1024.0 * 1024 * 1024, end++;
    else if (*end == 'T' || *end == 't')
        unit = 1024.0 * 1024 * 1024 * 1024, end++;
    if (*end == 'i')
        end++;
    if (*end == 'B')
        end++;
    if (end == text || *end || errno || !(value > 0) || value * unit > 1e18)
        return fail(e, "%s: \"%s\", expected a size such as 8G or 512M", name, text);
    *out = (uint64_t)(value * unit);
    return 0;
}

static int store(const Option *o, const char *text, StrataError *e)
{
    uint64_t count;
    int status;
    switch (o->kind) {
    case OPTION_STRING:
    case OPTION_TEXT:
        *(const char **)o->value = text;
        return 0;
    case OPTION_INT:
        status = parse_count(o->name, text, &count, e);
        if (!status && count > 2147483647)
            status = fail(e, "%s: \"%s\" is too large", o->name, text);
        if (!status)
            *(int *)o->value = (int)count;
        return status;
    case OPTION_COUNT:
        return parse_count(o->name, text, o->value, e);
    case OPTION_BYTES:
        return parse_bytes(o->name, text, o->value, e);
    default:
        return 0;
    }
}

int options_parse(const Option *options, size_t n_options, int argc, char **argv, int first, OptionList *rest, StrataError *e)
{
    for (int i = first; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0) {
            if (!rest)
                return fail(e, "unexpected word \"%s\"; options begin with --%s", argv[i], "");
            rest->values[rest->n++] = argv[i];
            continue;
        }
        const Option *o = find(options, n_options, argv[i]);
        if (!o)
            return unknown(options, n_options, argv[i], argv[1], e);
        const char *equals = strchr(argv[i], '=');
        if (o->kind == OPTION_FLAG) {
            if (equals)
                return fail(e, "%s takes no value, found \"%s\"", o->name, equals + 1);
            *(int *)o->value = 1;
            continue;
        }
        if (o->kind == OPTION_LIST) {
            OptionList *list = o->value;
            list->values = argv + i + 1;
            for (list->n = 0; i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0; i++)
                list->n++;
            if (!list->n)
                return fail(e, "%s: a value is missing%s", o->name, "");
            continue;
        }
        const char *value = equals ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
        /* `--model_name --threads 2` lacks a value; "--threads" as a value is written --model_name=--threads */
        if (!value || (!equals && find(options, n_options, value)))
            return fail(e, "%s: a value is missing%s", o->name, "");
        if (!*value && o->kind != OPTION_TEXT)
            return fail(e, "%s: the value is empty%s", o->name, "");
        int status = store(o, value, e);
        if (status)
            return status;
    }
    return 0;
}
