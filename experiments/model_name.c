/* model_name.c: see model_name.h. */
#include "experiments/model_name.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static size_t part_begin(const char *path, size_t end)
{
    while (end > 0 && path[end - 1] != '/')
        end--;
    return end;
}

/* Of a path's first end bytes, without the slashes that end it. */
static size_t part_end(const char *path, size_t end)
{
    while (end > 1 && path[end - 1] == '/')
        end--;
    return end;
}

static bool part_is(const char *path, size_t begin, size_t end, const char *text)
{
    return end - begin == strlen(text) && memcmp(path + begin, text, end - begin) == 0;
}

/* Of "models--ORG--NAME/snapshots/COMMIT", whose last part begins at begin: where NAME begins and ends. */
static bool find_repository(const char *path, size_t begin, size_t *name, size_t *name_end)
{
    size_t end = part_end(path, begin), snapshots = part_begin(path, end);
    if (!part_is(path, snapshots, end, "snapshots"))
        return false;
    end = part_end(path, snapshots);
    size_t at = part_begin(path, end);
    if (strncmp(path + at, "models--", 8) != 0)
        return false;
    at += 8;
    for (size_t i = at; i + 2 < end; i++)
        if (path[i] == '-' && path[i + 1] == '-') { /* an organisation's name has no "--", a model's may */
            at = i + 2;
            break;
        }
    *name = at;
    *name_end = end;
    return end > at;
}

const char *model_name_short(const char *model, char out[MODEL_NAME_BYTES])
{
    size_t end = part_end(model, strlen(model)), begin = part_begin(model, end);
    if (!find_repository(model, begin, &begin, &end)) {
        if (end - begin > 5 && memcmp(model + end - 5, ".gguf", 5) == 0)
            end -= 5;
        if (begin > 1 && part_is(model, begin, end, "model"))
            begin = part_begin(model, part_end(model, begin));
    }
    size_t n = end - begin < MODEL_NAME_BYTES ? end - begin : MODEL_NAME_BYTES - 1;
    while (n > 0 && n < end - begin && ((unsigned char)model[begin + n] & 0xc0) == 0x80) /* whole characters */
        n--;
    memcpy(out, model + begin, n);
    out[n] = '\0';
    return out;
}

void model_name_tell_apart(const char *const *labels, size_t n, char *text, size_t size)
{
    size_t len = strlen(text), nth = 2;
    for (size_t k = 0; k < n; k++)
        if (strcmp(labels[k], text) == 0) {
            len = len + 8 < size ? len : size - 8;
            snprintf(text + len, size - len, " #%zu", nth++);
            k = (size_t)-1; /* the longer label may be taken too */
        }
}
