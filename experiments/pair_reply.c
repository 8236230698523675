/* pair_reply.c: what a model answered: the text out of the endpoint's JSON, and the pairs out of the text, which may be cut off, wrapped in
 * prose, or not JSON at all. */
#include <string.h>

#include "experiments/pair_api.h"

const char *pair_reply_content(const JsonValue *answer, Error *e)
{
    const JsonValue *choices = json_get(answer, "choices");
    const JsonValue *message =
        choices && choices->kind == JSON_ARRAY && choices->len ? json_get(&choices->items[0], "message") : NULL;
    const char *content = json_text(json_get(message, "content"));
    if (content && content[0])
        return content;
    const char *refusal = json_text(json_get(message, "refusal")),
               *said = json_text(json_get(json_get(answer, "error"), "message"));
    error_set(e, STATUS_FAILED, "an answer without choices[0].message.content%s%.200s", refusal || said ? ": " : "",
              refusal ? refusal
              : said  ? said
                      : "");
    return NULL;
}

/* What is looked at of a reply: a server that sends braces without end costs little. */
enum { MAX_CONTENT_BYTES = 1 << 18, MAX_OBJECTS = 2000 };

/* The end of the object that begins at text[at], strings passed over; 0: it is cut off. */
static size_t object_end(const char *text, size_t at, size_t len)
{
    size_t depth = 0;
    bool in_string = false;
    for (; at < len; at++) {
        if (in_string && text[at] == '\\')
            at++;
        else if (text[at] == '"')
            in_string = !in_string;
        else if (!in_string && text[at] == '{')
            depth++;
        else if (!in_string && text[at] == '}' && --depth == 0)
            return at + 1;
    }
    return 0;
}

int pair_reply_items(const char *text, size_t len, int (*visit)(void *context, const JsonValue *item, Error *e), void *context,
                     size_t *n, Error *e)
{
    int status = STATUS_OK;
    *n = 0;
    len = len < MAX_CONTENT_BYTES ? len : MAX_CONTENT_BYTES;
    for (size_t at = 0, n_tried = 0; at < len && n_tried < MAX_OBJECTS && !status; n_tried++) {
        const char *brace = memchr(text + at, '{', len - at);
        if (!brace)
            break;
        at = (size_t)(brace - text);
        size_t end = object_end(text, at, len);
        Arena tree = {0};
        const JsonValue *v = NULL;
        Error why;
        bool is_item = end && !json_parse(text + at, end - at, "pair", &tree, &v, &why) && json_get(v, "a") && json_get(v, "b");
        if (is_item) {
            status = visit(context, v, e);
            ++*n;
        }
        at = is_item ? end : at + 1; /* an object around the items, or one that is cut off: what is inside it */
        arena_free(&tree);
    }
    return status;
}
