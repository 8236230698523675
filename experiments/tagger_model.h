/* tagger_model.h: the tagger's model file, as the trainer writes it and the tagger reads it in place.
 *
 * Little-endian: a TaggerModelHeader, then three hash tables, each u16 check[n_slots] and n_slots values: of features (17 i8
 * weights), of words (u8 fine, u8 coarse cluster), and of features and fine tags together (i8 weight); before the last lie the
 * fine tags, each a pair (UPOS, XPOS) seen in training: n_xpos names of XPOS of 8 bytes, then n_xpos bytes of UPOS, rising. A hash
 * h starts at slot h * n_slots / 2^32 and goes on to the next slots, around the end, until its check or an empty slot (check 0).
 * The checks lie together because most look-ups find nothing: they end within one cache line. */
#ifndef STRATA_EXPERIMENTS_TAGGER_MODEL_H
#define STRATA_EXPERIMENTS_TAGGER_MODEL_H

#include <stddef.h>
#include <stdint.h>

enum { TAGGER_WEIGHTS_BYTES = 17, TAGGER_CLUSTERS_BYTES = 2, TAGGER_FINE_BYTES = 1, TAGGER_XPOS_NAME_BYTES = 8 };

typedef struct TaggerModelHeader {
    char magic[8]; /* "STRTAG2" */
    uint32_t n_upos_slots, n_cluster_slots, n_xpos, n_xpos_slots;
    float scale;              /* score = scale * sum of weights */
    float transition[18][17]; /* [from][to]; row 17: the first word's */
} TaggerModelHeader;

/* The model inside the binary. */
extern const unsigned char tagger_model_bytes[];
extern const unsigned char tagger_model_end[];

static inline uint32_t tagger_model_slot(uint32_t hash, uint32_t n_slots)
{
    return (uint32_t)((uint64_t)hash * n_slots >> 32);
}

static inline uint16_t tagger_model_check(uint32_t hash)
{
    uint16_t check = (uint16_t)((hash ^ hash >> 11) & 0xffff);
    return check ? check : 1;
}

typedef struct TaggerTable {
    const unsigned char *checks, *values;
    uint32_t n_slots;
} TaggerTable;

/* Tables are larger than the caches near the processor: asking early for all that a word needs lets the waits overlap. */
static inline void tagger_model_prefetch(TaggerTable table, size_t value_bytes, uint32_t hash)
{
#if defined(__GNUC__)
    const size_t i = tagger_model_slot(hash, table.n_slots);
    __builtin_prefetch(table.checks + 2 * i);
    __builtin_prefetch(table.values + i * value_bytes);
#else
    (void)table, (void)value_bytes, (void)hash;
#endif
}

/* The values of a hash, or NULL. There must be an empty slot. */
static inline const unsigned char *tagger_model_find(TaggerTable table, size_t value_bytes, uint32_t hash)
{
    if (table.n_slots == 0)
        return NULL;
    uint32_t i = tagger_model_slot(hash, table.n_slots);
    uint16_t check = tagger_model_check(hash);
    for (;;) {
        uint16_t found = (uint16_t)(table.checks[2 * (size_t)i] | table.checks[2 * (size_t)i + 1] << 8);
        if (found == check)
            return table.values + i * value_bytes;
        if (found == 0)
            return NULL;
        i = i + 1 == table.n_slots ? 0 : i + 1;
    }
}

#endif
