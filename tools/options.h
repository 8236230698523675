/* options.h: the command line's options: "--name value", "--name=value", hyphens and underscores alike. */
#ifndef STRATA_TOOLS_OPTIONS_H
#define STRATA_TOOLS_OPTIONS_H

#include <stddef.h>

#include "engine/strata.h"

typedef enum OptionKind {
    OPTION_STRING, /* const char **, not empty */
    OPTION_TEXT,   /* const char **, may be empty */
    OPTION_INT,    /* int *, at least 0 */
    OPTION_COUNT,  /* uint64_t * */
    OPTION_BYTES,  /* uint64_t *: "8G", "512M", "64K", plain bytes */
    OPTION_FLAG,   /* int *: set to 1 */
    OPTION_LIST,   /* OptionList *: values up to the next option */
} OptionKind;

typedef struct OptionList {
    char **values;
    int n;
} OptionList;

typedef struct Option {
    const char *name; /* "--max_samples" */
    OptionKind kind;
    void *value;
} Option;

/* Reads argv[first..], argv[1] being the command. Words that are no option go to rest (may be NULL: they are an error). An unknown option
 * is an error that names the nearest known one; so is a missing or empty value (a word that names an option is no value).
 * Returns 0, or 2 with the error filled. */
int options_parse(const Option *options, size_t n_options, int argc, char **argv, int first, OptionList *rest, StrataError *e);

#endif
