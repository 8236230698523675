/* gguf_keys.c: see gguf_keys.h. */
#include "loaders/gguf_keys.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The key as the file has it. */
static const char *whole_key(const GgufKeys *k, const char *key, char out[GGUF_KEY_MAX])
{
    if (*key != '~')
        return key;
    snprintf(out, GGUF_KEY_MAX, "%s.%s", k->architecture, key + 1);
    return out;
}

static const GgufValue *find(const GgufKeys *k, const char *key)
{
    char whole[GGUF_KEY_MAX];
    return gguf_get(k->g, whole_key(k, key, whole));
}

void gguf_keys_fail(GgufKeys *k, const char *key, const char *format, ...)
{
    if (k->status)
        return;
    char text[512], whole[GGUF_KEY_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    k->status = error_set(k->e, STATUS_FAILED, "%s: %s: %s", k->path, whole_key(k, key, whole), text);
}

bool gguf_keys_has(const GgufKeys *k, const char *key)
{
    return find(k, key) != NULL;
}

int64_t gguf_keys_integer_or(GgufKeys *k, const char *key, int64_t lo, int64_t hi, int64_t fallback)
{
    const GgufValue *v = find(k, key);
    char whole[GGUF_KEY_MAX];
    int64_t x;
    if (k->status || !v)
        return fallback;
    if (v->type == GGUF_ARRAY) { /* one value per layer: served when all are the same */
        x = v->array_len ? gguf_array_integer(v, 0) : lo - 1;
        for (size_t i = 1; i < v->array_len; i++)
            if (gguf_array_integer(v, i) != x)
                gguf_keys_fail(k, key, "layers that differ are not supported: %lld, then %lld", (long long)x,
                               (long long)gguf_array_integer(v, i));
    } else if (!gguf_integer(k->g, whole_key(k, key, whole), &x)) {
        x = lo - 1;
    }
    if (x < lo || x > hi)
        gguf_keys_fail(k, key, "expected a whole number from %lld to %lld", (long long)lo, (long long)hi);
    return k->status ? lo : x;
}

int64_t gguf_keys_integer(GgufKeys *k, const char *key, int64_t lo, int64_t hi)
{
    if (!find(k, key))
        gguf_keys_fail(k, key, "expected a whole number, found no such key");
    return gguf_keys_integer_or(k, key, lo, hi, lo);
}

double gguf_keys_number_or(GgufKeys *k, const char *key, double lo, double hi, double fallback)
{
    double x = NAN;
    char whole[GGUF_KEY_MAX];
    if (k->status || !find(k, key))
        return fallback;
    if (!gguf_number(k->g, whole_key(k, key, whole), &x) || !(x >= lo && x <= hi)) {
        gguf_keys_fail(k, key, "expected a number from %g to %g, found %g", lo, hi, x);
        return lo;
    }
    return x;
}

bool gguf_keys_bool_or(GgufKeys *k, const char *key, bool fallback)
{
    bool x = fallback;
    char whole[GGUF_KEY_MAX];
    if (!k->status && find(k, key) && !gguf_bool(k->g, whole_key(k, key, whole), &x))
        gguf_keys_fail(k, key, "expected true or false");
    return x;
}

bool gguf_keys_flag_at(GgufKeys *k, const char *key, size_t i, size_t n, bool *out)
{
    const GgufValue *v = find(k, key);
    if (k->status || !v || v->type != GGUF_ARRAY)
        return false;
    if (v->array_len != n || v->array_type == GGUF_STRING) {
        gguf_keys_fail(k, key, "expected one flag for each of %zu layers, found %zu", n, v->array_len);
        return false;
    }
    *out = gguf_array_integer(v, i) != 0;
    return true;
}

int gguf_keys_word(GgufKeys *k, const char *key, const char *const *words)
{
    GgufString s;
    char whole[GGUF_KEY_MAX], known[256] = "";
    if (k->status || !gguf_string(k->g, whole_key(k, key, whole), &s))
        return -1;
    for (int i = 0; words[i]; i++) {
        size_t len = strlen(known);
        snprintf(known + len, sizeof known - len, i ? " %s" : "%s", words[i]);
        if (strlen(words[i]) == s.len && memcmp(words[i], s.s, s.len) == 0)
            return i;
    }
    gguf_keys_fail(k, key, "\"%.*s\" is not supported (%s are)", (int)(s.len < 40 ? s.len : 40), s.s, known);
    return -1;
}
