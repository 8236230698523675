/* progress.h: one progress line with rate and time left. On a terminal it is redrawn in place (at most 10 times a second);
 * piped, one line a minute goes to stderr. quiet shows nothing. */
#ifndef STRATA_BASE_PROGRESS_H
#define STRATA_BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Progress {
    const char *label; /* "removal on demo model" */
    const char *unit;  /* "tokens" */
    double total, done, start_s, first_done, last_shown_s;
    bool quiet, terminal, shown;
} Progress;

void progress_begin(Progress *p, const char *label, const char *unit, double total, double already_done, bool quiet);
void progress_update(Progress *p, double done);
void progress_end(Progress *p); /* clears the line on a terminal */
double progress_now_s(void);    /* monotonic clock, seconds */
/* "1 h 04 min", "3 min 20 s", "12 s" into out. */
void progress_format_time(double seconds, char *out, size_t out_len);

#endif
