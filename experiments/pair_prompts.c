/* pair_prompts.c: the prompts of --source api, inside the binary or in a folder of the user's own. */
#include "experiments/pair_api.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/embed.h"
#include "engine/base/file.h"

enum { MAX_PROMPT_BYTES = 1 << 20 };

#define FILES(X) \
    X(system) \
    X(subject) X(place) X(adjective) X(tense) X(article) X(article_choice) X(preposition) X(number) X(negation) X(spelling)

#define FILE_OF(stem) EMBED_TEXT(pair_prompt_##stem, "experiments/pairs/prompts/" #stem ".txt")
FILES(FILE_OF)

#define ENTRY_OF(stem) {#stem, pair_prompt_##stem},
static const struct {
    const char *name, *text;
} prompts[] = {FILES(ENTRY_OF)};

int pair_prompts_read(const char *dir, const char *name, StrBuf *out, Error *e)
{
    if (dir) {
        StrBuf path = {0};
        strbuf_printf(&path, "%s/prompts/%s.txt", dir, name);
        int status = path.failed ? error_set(e, STATUS_FAILED, "no memory for a prompt")
                                 : file_read(path.data, MAX_PROMPT_BYTES, out, e);
        strbuf_free(&path);
        return status;
    }
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++)
        if (strcmp(prompts[i].name, name) == 0)
            strbuf_puts(out, prompts[i].text);
    return out->failed || out->len == 0 ? error_set(e, STATUS_FAILED, "no memory for a prompt") : STATUS_OK;
}
