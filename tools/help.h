/* help.h: what `strata help` prints. */
#ifndef STRATA_TOOLS_HELP_H
#define STRATA_TOOLS_HELP_H

#include <stdio.h>

/* topic NULL: the overview. Returns 0 when there is no such topic. */
int help_print(const char *topic, FILE *out);

#endif
