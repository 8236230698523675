/* diff_excerpt.h: the bundled excerpt of WikiText-2 inside the binary, lines of text. */
#ifndef STRATA_EXPERIMENTS_DIFF_EXCERPT_H
#define STRATA_EXPERIMENTS_DIFF_EXCERPT_H

extern const char diff_excerpt_bytes[], diff_excerpt_end[];

#endif
