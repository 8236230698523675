/* terminal.h: how wide the terminal is that a stream goes to. */
#ifndef STRATA_BASE_TERMINAL_H
#define STRATA_BASE_TERMINAL_H

#include <stddef.h>
#include <stdio.h>

/* Columns; 80 where the terminal does not say; 0 where the stream is a file, a pipe or memory. */
size_t terminal_columns(FILE *stream);

#endif
