/* error.h: the one error convention.
 *
 * A function that can fail returns a status, 0 for success, and fills an Error whose text is one line saying
 * what, where (file, tensor, line), expected, found. The status is at the same time the exit status of the
 * command line: 1 the work failed, 2 wrong usage. Libraries never print, exit or abort. */
#ifndef STRATA_BASE_ERROR_H
#define STRATA_BASE_ERROR_H

enum {
    STATUS_OK = 0,
    STATUS_FAILED = 1,        /* the work failed: bad file, full disk, no memory */
    STATUS_USAGE = 2,         /* wrong usage: unknown option, order, missing data set, too small a budget */
    STATUS_INTERRUPTED = 130, /* stopped by a signal; what was done is kept */
};

/* The public header (engine/strata.h) declares the same type, so that it can stand alone. */
#ifndef STRATA_ERROR_DECLARED
#define STRATA_ERROR_DECLARED
typedef struct StrataError {
    char text[1024]; /* one line, no newline at its end, always terminated */
} StrataError;
#endif
typedef StrataError Error;

#if defined(__GNUC__)
#define STRATA_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))
#else
#define STRATA_PRINTF(fmt_index, first_arg)
#endif

/* Fills e (which may be NULL) and returns status, so that `return error_set(e, STATUS_FAILED, ...)` reads well.
 * Control characters and invalid UTF-8 in the arguments (file names, rows) come out as \xNN: one line stays one line. */
int error_set(Error *e, int status, const char *format, ...) STRATA_PRINTF(3, 4);

/* Puts "prefix: " before the text that is there; returns status. */
int error_prefix(Error *e, int status, const char *format, ...) STRATA_PRINTF(3, 4);

#endif
