/* hf_config_internal.h: what the readers of config.json share: hf_config.c (keys) and hf_rope.c (RoPE). */
#ifndef STRATA_LOADERS_HF_CONFIG_INTERNAL_H
#define STRATA_LOADERS_HF_CONFIG_INTERNAL_H

#include "loaders/hf_config.h"

const JsonValue *hf_config_get(const JsonValue *object, const char *key); /* NULL when absent or null */
/* A key of the configuration itself, noted as read; NULL when absent (given: or null). */
const JsonValue *hf_config_look(const HfConfig *c, const char *key);
const JsonValue *hf_config_given(const HfConfig *c, const char *key);
/* A number of an object within the configuration; where names the object in messages. */
double hf_config_number_in(HfConfig *c, const JsonValue *object, const char *where, const char *key, double lo, double hi,
                           double fallback);
/* The value as it might be written, for messages: in `out`, or a constant. */
const char *hf_config_show(const JsonValue *v, char out[80]);

#endif
