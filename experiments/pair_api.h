/* pair_api.h: pairs from a language model behind an OpenAI-compatible chat endpoint, POST API_BASE/chat/completions.
 *
 * A request asks for a batch of one category with that category's prompt (experiments/pairs/prompts; --templates DIR: DIR/prompts), in structured
 * output: response_format json_schema, then json_object, then none, as far down as a server goes that answers 400 or 422. What comes back is
 * only read, never believed: each item is verified like a user's own row, and one of another category than asked for is refused.
 * Replies go to STEM.partial.jsonl, one line each, synced, before they are used: after a failure or an interruption the same command reads
 * them and goes on. meta.json keeps prompts, raw replies, model, dates, temperature; then the partial file goes.
 * The key is that of STRATA_API_KEY, else OPENAI_API_KEY; it is written nowhere. */
#ifndef STRATA_EXPERIMENTS_PAIR_API_H
#define STRATA_EXPERIMENTS_PAIR_API_H

#include "engine/base/json.h"
#include "experiments/pairs.h"

int pair_api_fill(PairsRun *run, Error *e);
int pair_api_dry_run(const PairsRun *run, FILE *out, Error *e); /* prompts and number of requests; nothing is sent */
void pair_api_finish(const PairsRun *run);                      /* all is written: the partial file goes */

/* pair_prompts.c: "system" or a category's name; malloc'ed text through out. dir NULL: built in. */
int pair_prompts_read(const char *dir, const char *name, StrBuf *out, Error *e);

/* pair_reply.c: the model's text out of an answer of the endpoint; NULL with why in *e. */
const char *pair_reply_content(const JsonValue *answer, Error *e);
/* Every object with "a" and "b" inside the text, whatever stands around it (prose, code fences) and wherever it was cut off. `visit` returns a
 * status that is not 0 to stop. *n: how many there were. */
int pair_reply_items(const char *text, size_t len, int (*visit)(void *context, const JsonValue *item, Error *e), void *context,
                     size_t *n, Error *e);

#endif
