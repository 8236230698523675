/* tokenizer.h: text to ids with byte spans, exactly as the model's own tokenizer does it: tokenizer.json (Hugging Face, by its
 * components), SentencePiece tokenizer.model (BPE), GGUF's embedded vocabulary (gpt2 and llama kinds). Unknown components are
 * errors at open. Immutable after open; encode may run in several threads. */
#ifndef STRATA_LOADERS_TOKENIZER_H
#define STRATA_LOADERS_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "loaders/gguf.h"

typedef struct Tokenizer Tokenizer;

typedef struct Token {
    int32_t id;
    size_t byte_start, byte_end; /* into the original text: exact, and in order. A token that is part of a character (byte
                                    fallback, byte-level pieces) has its own bytes' span; bytes a normalizer added (a prefix
                                    space) belong to nobody, so a span may be empty */
} Token;

typedef struct TokenList {
    Token *tokens;
    size_t n, cap;
} TokenList;

/* dir: holds tokenizer.json, else tokenizer.model; tokenizer_config.json is read for add_bos_token and added tokens. */
int tokenizer_open_dir(const char *dir, Tokenizer **out, Error *e);
int tokenizer_open_file(const char *path, Tokenizer **out, Error *e); /* a tokenizer.json or tokenizer.model */
int tokenizer_open_gguf(const Gguf *gguf, const char *file, Tokenizer **out, Error *e);
void tokenizer_close(Tokenizer *t);

/* ids as Hugging Face's encode(text, add_special_tokens) gives them; appended to out (cleared first). text may hold NUL; it
 * must be valid UTF-8 (an error names the offset). */
int tokenizer_encode(const Tokenizer *t, const char *text, size_t len, bool add_special, TokenList *out, Error *e);
void token_list_free(TokenList *l);

size_t tokenizer_vocab(const Tokenizer *t); /* highest id + 1 */
int32_t tokenizer_bos(const Tokenizer *t);  /* -1: none */
int32_t tokenizer_eos(const Tokenizer *t);
/* Whether encode(add_special=true) puts BOS first: post-processor, else add_bos_token, else GGUF's key, else the class's
 * default (LlamaTokenizer and SentencePiece BPE: yes). */
bool tokenizer_adds_bos(const Tokenizer *t);

/* The vocabulary's own spelling ("Ġthe", "▁the", "<0x0A>"), NUL-terminated; NULL for an id without a token. */
const char *tokenizer_piece(const Tokenizer *t, int32_t id);
/* The bytes a token stands for ("Ġthe" -> " the"); special tokens give their own text. Returns the length, at most cap bytes
 * are written. */
size_t tokenizer_token_bytes(const Tokenizer *t, int32_t id, char *out, size_t cap);
bool tokenizer_is_special(const Tokenizer *t, int32_t id);
/* Text of ids, as Hugging Face's decode with skip_special_tokens=False and no clean-up; malloc'ed through out. */
int tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t n, StrBuf *out, Error *e);
/* word_start[v] = 1 when token v begins a new word: its bytes begin with white space, or it is a special token (a text may end
 * there), or has no bytes. [tokenizer_vocab] */
void tokenizer_word_starts(const Tokenizer *t, uint8_t *word_start);

const char *tokenizer_describe(const Tokenizer *t); /* "BPE, 49152 tokens, Sequence(Digits, ByteLevel)" for inspect */

#endif
