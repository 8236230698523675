/* tagger_model.h: the tagger's model file, as the trainer writes it and the tagger reads it in place.
 *
 * Little-endian: a TaggerModelHeader; n_upos_slots slots of {u16 check, i8 weight[17]}; n_cluster_slots slots of
 * {u16 check, u8 cluster}; then the fine tags: n_xpos names of 8 bytes, n_xpos bytes of the UPOS each belongs to most, and
 * n_xpos_slots slots of {u16 check, u8 fine tag, i8 weight}. A feature or word with hash h starts at slot h * n_slots / 2^32 and
 * goes on to the next slots, around the end, until its check (the low 16 bits of h, 0 read as 1) or an empty slot (check 0). */
#ifndef STRATA_EXPERIMENTS_TAGGER_MODEL_H
#define STRATA_EXPERIMENTS_TAGGER_MODEL_H

#include <stddef.h>
#include <stdint.h>

enum { TAGGER_SLOT_BYTES = 19, TAGGER_CLUSTER_SLOT_BYTES = 3, TAGGER_XPOS_NAME_BYTES = 8, TAGGER_XPOS_SLOT_BYTES = 4 };

typedef struct TaggerModelHeader {
    char magic[8]; /* "STRTAG1" */
    uint32_t n_upos_slots, n_cluster_slots, n_xpos, n_xpos_slots;
    float scale, xpos_scale;  /* score = scale * sum of weights */
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

#endif
