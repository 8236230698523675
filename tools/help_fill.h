/* help_fill.h: a help text in a terminal narrower than its lines. */
#ifndef STRATA_TOOLS_HELP_FILL_H
#define STRATA_TOOLS_HELP_FILL_H

#include <stddef.h>
#include <stdio.h>

/* Columns of the terminal that out is; 0 where it is none: files and pipes get the text as it is. */
size_t help_width(FILE *out);

/* Prints text, its lines broken at spaces to at most width columns (0, or no line longer: as they are). What is said behind a gap
 * (two spaces or more) is a column of its own, and lines indented to that column go on with it; lines without an indent are one
 * paragraph. Lines with a command to type stay whole, so that they can be copied. ASCII. */
void help_fill(const char *text, size_t width, FILE *out);

#endif
