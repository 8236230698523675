/* train_table.h: writing the hash tables of the tagger's model file, which tagger_model.h reads, and the table of word clusters. */
#ifndef STRATA_TAGGER_TRAIN_TABLE_H
#define STRATA_TAGGER_TRAIN_TABLE_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/base/error.h"
#include "experiments/tagger_model.h"

/* An empty table for n entries, filled to `load` by them: checks, then values of value_bytes each, in one block. */
TaggerTable train_table_make(size_t n, double load, size_t value_bytes);
unsigned char *train_table_add(TaggerTable table, size_t value_bytes, uint32_t hash); /* the place of its values */
bool train_table_write(TaggerTable table, size_t value_bytes, FILE *out);

/* Lines of word, fine and coarse cluster below 256, parted by tabs (may be gzipped); of equal words the first counts. */
int train_clusters_read(const char *path, TaggerTable *out, Error *e);

#endif
