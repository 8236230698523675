/* read_json.h: a JSON file of a test, read whole. */
#ifndef STRATA_TESTS_READ_JSON_H
#define STRATA_TESTS_READ_JSON_H

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/strbuf.h"
#include "tests/test.h"

/* The root, which lives in arena; NULL after a failed check when the file cannot be read or parsed. */
static inline const JsonValue *read_json(const char *path, Arena *arena)
{
    StrBuf text = {0};
    Error e = {{0}};
    const JsonValue *root = NULL;
    int status = file_read(path, (size_t)1 << 26, &text, &e);
    if (!status)
        status = json_parse(text.data ? text.data : "", text.len, path, arena, &root, &e);
    CHECK_MSG(status == 0, "%s", e.text);
    strbuf_free(&text);
    return status ? NULL : root;
}

#endif
