/* pattern.h: the regular expressions of tokenizer files, over UTF-8, leftmost with ordered alternation, as Oniguruma matches them.
 *
 * Served: alternation, groups (?:..) (..) (?i:..) (?>..), (?i), classes [..] with ranges, negation, && and escapes, \s \S \d \D \w \W
 * \p{..} \P{..} \p{^..} \r \n \t \f \v \uHHHH \x{..} \xHH, . , greedy, lazy and possessive ? * + {m,n}, lookahead (?= (?!, lookbehind
 * (?<= (?<! of one character, ^ $ \A \z. Anything else is an error at compile time. Repeats of one character or class take no
 * memory a character, so that a megabyte of letters is fine. */
#ifndef STRATA_LOADERS_PATTERN_H
#define STRATA_LOADERS_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

typedef struct Pattern Pattern; /* owned by the arena; immutable */

int pattern_compile(const char *text, size_t len, Arena *arena, Pattern **out, Error *e);

/* Memory of a search, grown as needed and kept between searches; one per thread. Zeroed to begin with. */
typedef struct PatternMemory {
    struct PatternTry *tries;
    size_t n, cap;
} PatternMemory;
void pattern_memory_free(PatternMemory *m);

/* Finds the first match at or after `from` in s[0, len): valid UTF-8. Returns 1 and its ends, 0 when there is none, -1 when
 * memory is out. */
int pattern_search(const Pattern *p, PatternMemory *m, const char *s, size_t len, size_t from, size_t *start, size_t *end);

#endif
