/* tokenizer_parts.h: what the files of the tokenizer share: the text on its way from bytes to pieces (tokenizer_text.c), the
 * merging model (tokenizer_bpe.c), and the readers of the three file kinds (tokenizer_json.c, tokenizer_spm.c, tokenizer_gguf.c). */
#ifndef STRATA_LOADERS_TOKENIZER_PARTS_H
#define STRATA_LOADERS_TOKENIZER_PARTS_H

#include "engine/base/arena.h"
#include "loaders/pattern.h"
#include "loaders/tokenizer.h"
#include "loaders/unicode.h"

/* A byte's place in the original text. Bytes that a normalizer added have an empty range. */
typedef struct ByteSpan {
    size_t start, end;
} ByteSpan;

/* Normalized text: each byte knows where it came from. A character that replaced others carries their whole range on its first byte. */
typedef struct SpanText {
    char *s;
    ByteSpan *at;
    size_t n, cap;
    bool failed;
} SpanText;

void span_text_push(SpanText *t, const char *bytes, size_t n, ByteSpan span);
void span_text_free(SpanText *t);

typedef struct Slice {
    size_t first, n;
} Slice;
typedef struct SliceList {
    Slice *items;
    size_t n, cap;
    bool failed;
} SliceList;

typedef enum SplitBehavior { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_PREVIOUS, SPLIT_NEXT, SPLIT_CONTIGUOUS } SplitBehavior;

typedef enum PartKind {
    /* normalizers */
    PART_FORM,    /* NFC, NFD, NFKC, NFKD */
    PART_PREPEND, /* text before a text that is not empty */
    PART_REPLACE, /* a literal or an expression by text */
    /* pre-tokenizers */
    PART_SPLIT,
    PART_BYTE_LEVEL,
    PART_DIGITS,
    PART_METASPACE,
    PART_PUNCTUATION,
    PART_WHITESPACE_SPLIT,
} PartKind;

typedef enum PrependScheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } PrependScheme;

typedef struct TextPart {
    PartKind kind;
    UnicodeForm form;
    Pattern *regex;      /* SPLIT, REPLACE, BYTE_LEVEL with use_regex; NULL: literal */
    const char *literal; /* what a literal SPLIT or REPLACE looks for */
    size_t literal_len;
    const char *text; /* PREPEND, REPLACE: what is put; METASPACE: the replacement */
    size_t text_len;
    SplitBehavior behavior;
    bool invert, individual, add_prefix_space, split;
    PrependScheme scheme;
} TextPart;

enum { MAX_TEXT_PARTS = 24 };

typedef struct AddedToken {
    const char *content; /* raw */
    size_t len;
    const char *form; /* as looked for: normalized when `normalized` */
    size_t form_len;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
} AddedToken;

/* Strings to ids: open addressing. */
typedef struct VocabEntry {
    const char *s;
    uint32_t len;
    int32_t id;
} VocabEntry;

typedef struct Merge {
    int32_t left, right, rank, id;
} Merge;

typedef enum MergeKind { MERGE_PAIRS, MERGE_SCORES } MergeKind;

struct Tokenizer {
    Arena arena;
    VocabEntry *table; /* size a power of two; id -1: empty */
    size_t table_size;
    const char **pieces; /* [n_ids] */
    uint32_t *piece_len;
    size_t n_ids;
    bool *special; /* [n_ids] */

    MergeKind merge_kind;
    Merge *merges; /* open addressing by (left, right); rank -1: empty */
    size_t merges_size;
    float *scores; /* MERGE_SCORES: [n_ids]; -inf: not reachable by merging */
    bool byte_fallback, fuse_unk, ignore_merges;
    int32_t unk_id;
    int32_t byte_ids[256]; /* <0xXX>, -1: none */

    TextPart normalizers[MAX_TEXT_PARTS], pre[MAX_TEXT_PARTS];
    int n_normalizers, n_pre;
    AddedToken *added;
    size_t n_added;

    int32_t *before, *after; /* ids that the post-processor puts around a text */
    size_t n_before, n_after;
    int32_t bos, eos;
    bool adds_bos;
    bool byte_level, spaces_as_marks; /* how pieces spell bytes: GPT-2's letters; U+2581 for a space and <0xXX> */
    bool strip_first_space;           /* decode drops the space that a prefix added */
    char description[256];
};

/* tokenizer_text.c */
int text_normalize(const Tokenizer *t, SpanText *text, PatternMemory *m, Error *e); /* in place */
int text_pre_tokenize(const Tokenizer *t, SpanText *text, SliceList *slices, PatternMemory *m, Error *e);
uint32_t text_byte_letter(unsigned char byte);                 /* GPT-2's letter for a byte */
int text_letter_byte(uint32_t letter);                         /* back; -1: none */
int text_default_regex(Arena *arena, Pattern **out, Error *e); /* GPT-2's */

/* tokenizer_bpe.c */
int vocab_init(Tokenizer *t, size_t n_tokens, size_t n_ids, Error *e);
void vocab_put(Tokenizer *t, const char *s, size_t len, int32_t id);
int32_t vocab_find(const Tokenizer *t, const char *s, size_t len); /* -1: none */
int merges_init(Tokenizer *t, size_t n, Error *e);
void merges_put(Tokenizer *t, int32_t left, int32_t right, int32_t rank, int32_t id);
void vocab_find_bytes(Tokenizer *t); /* fills byte_ids */

typedef struct BpeMemory {
    struct BpeSymbol *symbols;
    struct BpeCandidate *heap;
    size_t n_symbols, symbols_cap, n_heap, heap_cap;
} BpeMemory;
void bpe_memory_free(BpeMemory *m);
/* Tokens of one piece, appended. */
int bpe_encode(const Tokenizer *t, const SpanText *text, Slice piece, BpeMemory *m, TokenList *out, Error *e);
int token_list_push(TokenList *l, Token token);

/* tokenizer_spm.c: vocabularies of pieces with scores and types, as SentencePiece and GGUF have them */
enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER_DEFINED, PIECE_UNUSED, PIECE_BYTE };
int tokenizer_init_pieces(Tokenizer *t, size_t n, const char *path, Error *e);
/* Control, unknown and user-defined pieces are looked for in the text; bytes and unused pieces are reached by no merge. */
void tokenizer_set_piece(Tokenizer *t, int32_t id, int type, float score);
void tokenizer_add_piece(Tokenizer *t, int32_t id, bool special); /* looked for in the text */
/* The two normalizers of a SentencePiece vocabulary, and its decoding. */
void tokenizer_set_spaces(Tokenizer *t, bool add_prefix);

/* readers */
int tokenizer_read_json(Tokenizer *t, const char *path, const char *config_path, Error *e);
int tokenizer_read_spm(Tokenizer *t, const char *path, const char *config_path, Error *e);
int tokenizer_read_gguf(Tokenizer *t, const Gguf *gguf, const char *file, Error *e);
/* Normalizes the forms of added tokens and sorts nothing: call once everything else is set. */
int tokenizer_finish(Tokenizer *t, Error *e);

#endif
