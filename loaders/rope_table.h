/* rope_table.h: cosines and sines of rotary positions, computed once on the host.
 * hf32 repeats Hugging Face's arithmetic: inv_freq in f32, angle = f32(position) * inv_freq in f32, cos and sin rounded to f32
 * and multiplied by attention_factor. real takes angles in f64 and rounds once. Never rounded to the file's dtype. */
#ifndef STRATA_LOADERS_ROPE_TABLE_H
#define STRATA_LOADERS_ROPE_TABLE_H

#include "loaders/traits.h"

typedef enum RopeArithmetic { ROPE_HF32, ROPE_REAL } RopeArithmetic;

/* Fills cosines and sines [n_positions, R/2]. seq_len: length of the sequence (dynamic scaling depends on it). */
void rope_table_fill(const RopeTraits *rope, RopeArithmetic arithmetic, size_t n_positions, size_t seq_len, float *cosines,
                     float *sines);

/* Whether a sequence of this length has another table than short ones: beyond the original maximum, each length its own with
 * dynamic scaling, all the same with longrope; every other kind has one table for all. */
bool rope_table_depends_on_length(const RopeTraits *rope, size_t seq_len);

#endif
