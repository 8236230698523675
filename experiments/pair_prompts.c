/* pair_prompts.c: the prompts of --source api, inside the binary (.incbin, from the repository's root) or in a folder of the user's own. */
#include "experiments/pair_api.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"

#if defined(__APPLE__)
#define SECTION ".const_data\n"
#define NAME(symbol) "_" symbol
#define RESTORE ".text\n"
#else
#define SECTION ".pushsection .rodata,\"a\"\n"
#define NAME(symbol) symbol
#define RESTORE ".popsection\n"
#endif
#define LABEL(symbol) ".globl " NAME(symbol) "\n" NAME(symbol) ":\n"

enum { MAX_PROMPT_BYTES = 1 << 20 };

#define FILE_OF(stem) \
    __asm__(SECTION LABEL("pair_prompt_" #stem) ".incbin \"experiments/pairs/prompts/" #stem ".txt\"\n.byte 0\n" RESTORE); \
    extern const char pair_prompt_##stem[];

#define FILES(X) \
    X(system) \
    X(subject) X(place) X(adjective) X(tense) X(article) X(article_choice) X(preposition) X(number) X(negation) X(spelling)

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
