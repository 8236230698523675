/* tokenizer_spm.c: SentencePiece's tokenizer.model (a protobuf ModelProto: 1 pieces {1 piece, 2 score, 3 type}, 2 trainer_spec {3 model_type,
 * 35 byte_fallback, 40-42 ids}, 3 normalizer_spec {1 name, 3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces}).
 * https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
 *
 * Text becomes ids as Hugging Face's converted tokenizer does it: a mark before each stretch of text, marks for spaces, merging
 * by score, bytes for what is unknown. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "loaders/tokenizer_parts.h"

static const char space_mark[] = "\xe2\x96\x81";

void tokenizer_set_spaces(Tokenizer *t, bool add_prefix)
{
    if (add_prefix)
        t->normalizers[t->n_normalizers++] = (TextPart){.kind = PART_PREPEND, .text = space_mark, .text_len = 3};
    t->normalizers[t->n_normalizers++] =
        (TextPart){.kind = PART_REPLACE, .literal = " ", .literal_len = 1, .text = space_mark, .text_len = 3};
    t->spaces_as_marks = true;
    t->strip_first_space = add_prefix;
    t->merge_kind = MERGE_SCORES;
}

void tokenizer_add_piece(Tokenizer *t, int32_t id, bool special)
{
    t->special[id] = special;
    if (t->piece_len[id])
        t->added[t->n_added++] = (AddedToken){.content = t->pieces[id], .len = t->piece_len[id], .id = id, .special = special};
}

void tokenizer_set_piece(Tokenizer *t, int32_t id, int type, float score)
{
    t->scores[id] = type == PIECE_NORMAL || type == PIECE_USER_DEFINED ? score : -INFINITY;
    if (type == PIECE_UNKNOWN)
        t->unk_id = id;
    if (type == PIECE_UNKNOWN || type == PIECE_CONTROL || type == PIECE_USER_DEFINED)
        tokenizer_add_piece(t, id, type != PIECE_USER_DEFINED);
    t->byte_fallback = t->byte_fallback || type == PIECE_BYTE;
}

int tokenizer_init_pieces(Tokenizer *t, size_t n, const char *path, Error *e)
{
    int status = vocab_init(t, n, n, e);
    t->scores = arena_array(&t->arena, n + 1, sizeof *t->scores);
    t->added = arena_array(&t->arena, n + 1, sizeof *t->added);
    if (!status && (!t->scores || !t->added))
        status = error_set(e, STATUS_FAILED, "%s: out of memory for %zu tokens", path, n);
    return status;
}

typedef struct Proto {
    const unsigned char *at, *end;
} Proto;

typedef struct Field {
    uint32_t number;
    uint64_t value; /* varint or fixed bits */
    Proto bytes;    /* length-delimited */
} Field;

static bool read_varint(Proto *p, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && p->at < p->end; shift += 7) {
        unsigned char b = *p->at++;
        *out |= (uint64_t)(b & 127) << shift;
        if (b < 128)
            return true;
    }
    return false;
}

/* The next field: 1, 0 at the end, -1 when the bytes are damaged. */
static int next_field(Proto *p, Field *f)
{
    uint64_t tag, len;
    if (p->at == p->end)
        return 0;
    if (!read_varint(p, &tag) || tag >> 3 > UINT32_MAX)
        return -1;
    *f = (Field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case 0:
        return read_varint(p, &f->value) ? 1 : -1;
    case 1:
    case 5:
        len = (tag & 7) == 1 ? 8 : 4;
        if ((uint64_t)(p->end - p->at) < len)
            return -1;
        memcpy(&f->value, p->at, len);
        p->at += len;
        return 1;
    case 2:
        if (!read_varint(p, &len) || (uint64_t)(p->end - p->at) < len)
            return -1;
        f->bytes = (Proto){p->at, p->at + len};
        p->at += len;
        return 1;
    default:
        return -1;
    }
}

static int damaged(const char *path, const char *where, Error *e)
{
    return error_set(e, STATUS_FAILED, "%s: %s: expected a SentencePiece model, found damaged bytes", path, where);
}

static int read_piece(Tokenizer *t, Proto p, int32_t id, const char *path, Error *e)
{
    Field f;
    int more, type = PIECE_NORMAL;
    uint32_t bits = 0;
    const char *text = "";
    size_t len = 0;
    while ((more = next_field(&p, &f)) > 0) {
        if (f.number == 1) {
            len = (size_t)(f.bytes.end - f.bytes.at);
            text = arena_strndup(&t->arena, (const char *)f.bytes.at, len);
        } else if (f.number == 2) {
            bits = (uint32_t)f.value;
        } else if (f.number == 3) {
            type = (int)(f.value & 15);
        }
    }
    if (more < 0 || !text)
        return damaged(path, "a piece", e);
    float score;
    memcpy(&score, &bits, 4);
    vocab_put(t, text, len, id);
    tokenizer_set_piece(t, id, type, score == score ? score : 0);
    return STATUS_OK;
}

static int read_trainer(Tokenizer *t, Proto p, const char *path, Error *e)
{
    Field f;
    int more;
    uint64_t model_type = 1; /* the proto's default: unigram */
    while ((more = next_field(&p, &f)) > 0) {
        if (f.number == 3)
            model_type = f.value;
        else if (f.number == 41)
            t->bos = (int32_t)f.value;
        else if (f.number == 42)
            t->eos = (int32_t)f.value;
    }
    if (more < 0)
        return damaged(path, "trainer_spec", e);
    if (model_type != 2)
        return error_set(e, STATUS_FAILED, "%s: model_type %llu is not served: expected 2 (BPE)", path,
                         (unsigned long long)model_type);
    return STATUS_OK;
}

static int read_normalizer(Tokenizer *t, Proto p, const char *path, Error *e)
{
    Field f;
    int more;
    bool prefix = true, collapse = true, escape = true, identity = true;
    while ((more = next_field(&p, &f)) > 0) {
        if (f.number == 2)
            identity = f.bytes.at == f.bytes.end;
        else if (f.number == 3)
            prefix = f.value;
        else if (f.number == 4)
            collapse = f.value;
        else if (f.number == 5)
            escape = f.value;
    }
    if (more < 0)
        return damaged(path, "normalizer_spec", e);
    if (collapse || !escape || !identity)
        return error_set(e, STATUS_FAILED,
                         "%s: normalizer_spec is not served: expected the identity, without remove_extra_whitespaces, with "
                         "escape_whitespaces",
                         path);
    tokenizer_set_spaces(t, prefix);
    return STATUS_OK;
}

static int read_proto(Tokenizer *t, Proto p, const char *path, Error *e)
{
    Field f;
    size_t n = 0;
    int more, status;
    Proto all = p;
    while ((more = next_field(&p, &f)) > 0)
        n += f.number == 1;
    if (more < 0 || !n || n > 100000000)
        return damaged(path, "pieces", e);
    if ((status = tokenizer_init_pieces(t, n, path, e)))
        return status;
    t->bos = 1; /* the proto's defaults */
    t->eos = 2;
    int32_t id = 0;
    bool has_normalizer = false;
    for (p = all; !status && next_field(&p, &f) > 0;) {
        if (f.number == 1)
            status = read_piece(t, f.bytes, id++, path, e);
        else if (f.number == 2)
            status = read_trainer(t, f.bytes, path, e);
        else if (f.number == 3)
            status = (has_normalizer = true, read_normalizer(t, f.bytes, path, e));
    }
    if (!status && !has_normalizer)
        tokenizer_set_spaces(t, true);
    t->bos = t->bos >= 0 && (size_t)t->bos < n ? t->bos : -1;
    t->eos = t->eos >= 0 && (size_t)t->eos < n ? t->eos : -1;
    return status;
}

int tokenizer_read_spm(Tokenizer *t, const char *path, const char *config_path, Error *e)
{
    FileMap map;
    (void)config_path;
    int status = file_map(path, &map, e);
    if (status)
        return status;
    status = read_proto(t, (Proto){map.data, map.data + map.size_bytes}, path, e);
    file_unmap(&map);
    t->fuse_unk = true;
    t->adds_bos = t->bos >= 0;
    snprintf(t->description, sizeof t->description, "SentencePiece BPE, %zu tokens", t->n_ids);
    return status;
}
