/* byte_tokenizer.h: a tokenizer for tests: byte-level BPE without merges, in which the id of a token is its byte. */
#ifndef STRATA_TESTS_BYTE_TOKENIZER_H
#define STRATA_TESTS_BYTE_TOKENIZER_H

#include "loaders/tokenizer.h"

enum { BYTE_TOKENIZER_BOS = 256, BYTE_TOKENIZER_VOCAB = 257 }; /* 256: "<s>", never added by itself */

/* Writes folder/tokenizer.json and opens it; NULL (and a failed check's line) when that does not work. */
Tokenizer *byte_tokenizer_open(const char *folder);

#endif
