/* tokenizer_json.c: tokenizer.json of the Hugging Face tokenizers library, by its components, and what tokenizer_config.json adds.
 * A component that is not served is an error that names it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/json.h"
#include "loaders/tokenizer_parts.h"

typedef struct Reader {
    Tokenizer *t;
    const char *path;
    Error *error;
} Reader;

enum { MAX_FILE_BYTES = 1 << 30 };

static int fail(const Reader *r, const char *where, const char *what, const JsonValue *found)
{
    bool text = found && found->kind == JSON_STRING;
    return error_set(r->error, STATUS_FAILED, "%s: %s: %s%s%.60s", r->path, where, what, text ? ", found " : "",
                     text ? found->string : "");
}

static bool is_true(const JsonValue *object, const char *key, bool otherwise)
{
    const JsonValue *v = json_get(object, key);
    return v && v->kind == JSON_BOOL ? v->boolean : otherwise;
}

static const JsonValue *get(const JsonValue *object, const char *key)
{
    const JsonValue *v = json_get(object, key);
    return v && v->kind == JSON_NULL ? NULL : v;
}

static const char *keep(Reader *r, const JsonValue *v)
{
    return arena_strndup(&r->t->arena, v->string, v->len);
}

/* {"Regex": "..."} or {"String": "..."}. */
static int read_pattern(Reader *r, const char *where, const JsonValue *owner, TextPart *p)
{
    const JsonValue *pattern = get(owner, "pattern"), *regex = json_get(pattern, "Regex"),
                    *string = json_get(pattern, "String");
    if (regex && regex->kind == JSON_STRING) {
        int status = pattern_compile(regex->string, regex->len, &r->t->arena, &p->regex, r->error);
        return status ? error_prefix(r->error, status, "%s: %s", r->path, where) : STATUS_OK;
    }
    if (!string || string->kind != JSON_STRING)
        return fail(r, where, "expected a pattern, Regex or String", NULL);
    p->literal = keep(r, string);
    p->literal_len = string->len;
    return p->literal ? STATUS_OK : fail(r, where, "out of memory", NULL);
}

static int read_behavior(Reader *r, const char *where, const JsonValue *v, SplitBehavior *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    for (int i = 0; i < 5; i++) {
        if (v && json_is_string(v, names[i])) {
            *out = (SplitBehavior)i;
            return STATUS_OK;
        }
    }
    return fail(r, where, "behavior: expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous", v);
}

static int push_part(Reader *r, TextPart *parts, int *n, TextPart part)
{
    if (*n == MAX_TEXT_PARTS)
        return fail(r, "normalizer or pre_tokenizer", "too many components", NULL);
    parts[(*n)++] = part;
    return STATUS_OK;
}

static int read_normalizer(Reader *r, const JsonValue *v, int depth)
{
    static const char where[] = "normalizer";
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    Tokenizer *t = r->t;
    if (!v)
        return STATUS_OK;
    const JsonValue *type = get(v, "type");
    if (depth > 8 || !type)
        return fail(r, where, "expected an object with a type", NULL);
    if (json_is_string(type, "Sequence")) {
        const JsonValue *list = get(v, "normalizers");
        for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->len; i++) {
            int status = read_normalizer(r, &list->items[i], depth + 1);
            if (status)
                return status;
        }
        return STATUS_OK;
    }
    for (int i = 0; i < 4; i++)
        if (json_is_string(type, forms[i]))
            return push_part(r, t->normalizers, &t->n_normalizers, (TextPart){.kind = PART_FORM, .form = (UnicodeForm)i});
    TextPart p = {.kind = PART_PREPEND};
    const JsonValue *text = get(v, "prepend");
    if (json_is_string(type, "Replace")) {
        p.kind = PART_REPLACE;
        text = get(v, "content");
        int status = read_pattern(r, where, v, &p);
        if (status)
            return status;
    } else if (!json_is_string(type, "Prepend")) {
        return fail(r, where, "a component that is not served (served are Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace)",
                    type);
    }
    if (!text || text->kind != JSON_STRING)
        return fail(r, where, "expected a string to put", NULL);
    p.text = keep(r, text);
    p.text_len = text->len;
    return push_part(r, t->normalizers, &t->n_normalizers, p);
}

static int read_metaspace(Reader *r, const char *where, const JsonValue *v, TextPart *p)
{
    const JsonValue *mark = get(v, "replacement"), *scheme = get(v, "prepend_scheme");
    p->kind = PART_METASPACE;
    p->text = mark && mark->kind == JSON_STRING ? keep(r, mark) : "\xe2\x96\x81";
    p->text_len = strlen(p->text);
    p->split = is_true(v, "split", true);
    if (!scheme)
        p->scheme = is_true(v, "add_prefix_space", true) ? PREPEND_ALWAYS : PREPEND_NEVER;
    else if (json_is_string(scheme, "always"))
        p->scheme = PREPEND_ALWAYS;
    else if (json_is_string(scheme, "first"))
        p->scheme = PREPEND_FIRST;
    else if (json_is_string(scheme, "never"))
        p->scheme = PREPEND_NEVER;
    else
        return fail(r, where, "prepend_scheme: expected always, first or never", scheme);
    return STATUS_OK;
}

static int read_pre_tokenizer(Reader *r, const JsonValue *v, int depth)
{
    static const char where[] = "pre_tokenizer";
    Tokenizer *t = r->t;
    if (!v)
        return STATUS_OK;
    const JsonValue *type = get(v, "type");
    if (depth > 8 || !type)
        return fail(r, where, "expected an object with a type", NULL);
    int status = STATUS_OK;
    TextPart p = {.behavior = SPLIT_ISOLATED};
    if (json_is_string(type, "Sequence")) {
        const JsonValue *list = get(v, "pretokenizers");
        for (size_t i = 0; !status && list && list->kind == JSON_ARRAY && i < list->len; i++)
            status = read_pre_tokenizer(r, &list->items[i], depth + 1);
        return status;
    }
    if (json_is_string(type, "Split")) {
        p.kind = PART_SPLIT;
        p.invert = is_true(v, "invert", false);
        status = read_pattern(r, where, v, &p);
        if (!status)
            status = read_behavior(r, where, get(v, "behavior"), &p.behavior);
    } else if (json_is_string(type, "ByteLevel")) {
        p.kind = PART_BYTE_LEVEL;
        p.add_prefix_space = is_true(v, "add_prefix_space", true);
        if (is_true(v, "use_regex", true))
            status = text_default_regex(&t->arena, &p.regex, r->error);
    } else if (json_is_string(type, "Digits")) {
        p.kind = PART_DIGITS;
        p.individual = is_true(v, "individual_digits", false);
    } else if (json_is_string(type, "Metaspace")) {
        status = read_metaspace(r, where, v, &p);
    } else if (json_is_string(type, "Punctuation")) {
        p.kind = PART_PUNCTUATION;
        if (get(v, "behavior"))
            status = read_behavior(r, where, get(v, "behavior"), &p.behavior);
    } else if (json_is_string(type, "Whitespace")) {
        static const char pattern[] = "\\w+|[^\\w\\s]+";
        p.kind = PART_SPLIT;
        p.behavior = SPLIT_REMOVED;
        p.invert = true;
        status = pattern_compile(pattern, sizeof pattern - 1, &t->arena, &p.regex, r->error);
    } else if (json_is_string(type, "WhitespaceSplit")) {
        p.kind = PART_WHITESPACE_SPLIT;
    } else {
        return fail(r, where,
                    "a component that is not served (served are Sequence, Split, ByteLevel, Digits, Metaspace, Punctuation, "
                    "Whitespace, "
                    "WhitespaceSplit)",
                    type);
    }
    return status ? status : push_part(r, t->pre, &t->n_pre, p);
}

static int read_decoder(Reader *r, const JsonValue *v, int depth)
{
    static const char *const served[] = {"ByteFallback", "Fuse", "Replace", "Strip", "Metaspace", "ByteLevel", "Sequence"};
    if (!v)
        return STATUS_OK;
    const JsonValue *type = get(v, "type");
    bool known = false;
    for (size_t i = 0; type && i < sizeof served / sizeof served[0]; i++)
        known = known || json_is_string(type, served[i]);
    if (!known || depth > 8)
        return fail(r, "decoder", "a component that is not served", type);
    const JsonValue *list = get(v, "decoders");
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->len; i++) {
        int status = read_decoder(r, &list->items[i], depth + 1);
        if (status)
            return status;
    }
    r->t->byte_level = r->t->byte_level || json_is_string(type, "ByteLevel");
    r->t->spaces_as_marks = r->t->spaces_as_marks || json_is_string(type, "Metaspace") || json_is_string(type, "Replace");
    r->t->strip_first_space = r->t->strip_first_space || json_is_string(type, "Strip") || json_is_string(type, "Metaspace");
    return STATUS_OK;
}

static int read_string(Reader *r, const JsonValue *v, const char *where)
{
    return v && v->kind == JSON_STRING ? STATUS_OK : fail(r, where, "expected a string", NULL);
}

static int read_id(Reader *r, const JsonValue *v, const char *where, int32_t *out)
{
    if (!v || v->kind != JSON_NUMBER || !v->is_integer || v->integer < 0 || v->integer > 100000000)
        return fail(r, where, "expected an id from 0 to 100000000", NULL);
    *out = (int32_t)v->integer;
    return STATUS_OK;
}

static int read_vocab(Reader *r, const JsonValue *vocab, const JsonValue *added)
{
    Tokenizer *t = r->t;
    int32_t id = -1, most = -1;
    size_t n_added = added && added->kind == JSON_ARRAY ? added->len : 0;
    if (!vocab || vocab->kind != JSON_OBJECT)
        return fail(r, "model.vocab", "expected an object", NULL);
    for (size_t i = 0; i < vocab->len + n_added; i++) {
        const JsonValue *v = i < vocab->len ? &vocab->items[i] : json_get(&added->items[i - vocab->len], "id");
        int status = read_id(r, v, i < vocab->len ? "model.vocab" : "added_tokens", &id);
        if (status)
            return status;
        most = id > most ? id : most;
    }
    int status = vocab_init(t, vocab->len + n_added, (size_t)most + 1, r->error);
    for (size_t i = 0; !status && i < vocab->len; i++) {
        const JsonValue *key = &vocab->keys[i];
        const char *s = keep(r, key);
        if (!s)
            return fail(r, "model.vocab", "out of memory", NULL);
        vocab_put(t, s, key->len, (int32_t)vocab->items[i].integer);
    }
    return status;
}

/* "a b" or ["a", "b"]; the merged token must be in the vocabulary. */
static int read_merge(Reader *r, const JsonValue *v, int32_t rank)
{
    const char *left, *right;
    size_t left_len, right_len;
    if (v->kind == JSON_STRING) {
        const char *space = memchr(v->string, ' ', v->len);
        if (!space)
            return fail(r, "model.merges", "expected two tokens", v);
        left = v->string;
        left_len = (size_t)(space - v->string);
        right = space + 1;
        right_len = v->len - left_len - 1;
    } else if (v->kind == JSON_ARRAY && v->len == 2 && v->items[0].kind == JSON_STRING && v->items[1].kind == JSON_STRING) {
        left = v->items[0].string;
        left_len = v->items[0].len;
        right = v->items[1].string;
        right_len = v->items[1].len;
    } else {
        return fail(r, "model.merges", "expected \"a b\" or [\"a\", \"b\"]", NULL);
    }
    char joined[1024];
    if (left_len + right_len > sizeof joined)
        return fail(r, "model.merges", "a token longer than 1024 bytes", NULL);
    memcpy(joined, left, left_len);
    memcpy(joined + left_len, right, right_len);
    int32_t a = vocab_find(r->t, left, left_len), b = vocab_find(r->t, right, right_len);
    int32_t both = vocab_find(r->t, joined, left_len + right_len);
    if (a < 0 || b < 0 || both < 0)
        return fail(r, "model.merges", "a merge whose tokens are not in the vocabulary",
                    v->kind == JSON_STRING ? v : &v->items[0]);
    merges_put(r->t, a, b, rank, both);
    return STATUS_OK;
}

static int read_model(Reader *r, const JsonValue *model, const JsonValue *added)
{
    Tokenizer *t = r->t;
    const JsonValue *type = get(model, "type"), *merges = get(model, "merges"), *unk = get(model, "unk_token");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    if (!model || (type && !json_is_string(type, "BPE")) || (!type && !merges))
        return fail(r, "model", "a type that is not served (served is BPE)", type);
    for (size_t i = 0; i < 2; i++) {
        const JsonValue *affix = get(model, affixes[i]);
        if (affix && affix->len)
            return fail(r, affixes[i], "is not served", affix);
    }
    const JsonValue *dropout = get(model, "dropout");
    if (dropout && !(dropout->kind == JSON_NUMBER && dropout->number == 0))
        return fail(r, "model.dropout", "is not served: tokenization must not be random", NULL);
    int status = read_vocab(r, get(model, "vocab"), added);
    if (status)
        return status;
    t->fuse_unk = is_true(model, "fuse_unk", false);
    t->byte_fallback = is_true(model, "byte_fallback", false);
    t->ignore_merges = is_true(model, "ignore_merges", false);
    if (unk && !read_string(r, unk, "model.unk_token"))
        t->unk_id = vocab_find(t, unk->string, unk->len);
    if (unk && t->unk_id < 0)
        return fail(r, "model.unk_token", "is not in the vocabulary", unk);
    if (!merges || merges->kind != JSON_ARRAY)
        return fail(r, "model.merges", "expected an array", NULL);
    status = merges_init(t, merges->len, r->error);
    for (size_t i = 0; !status && i < merges->len; i++)
        status = read_merge(r, &merges->items[i], (int32_t)i);
    return status;
}

static int read_added(Reader *r, const JsonValue *added)
{
    Tokenizer *t = r->t;
    if (!added || added->kind != JSON_ARRAY)
        return STATUS_OK;
    t->added = arena_array(&t->arena, added->len + 1, sizeof *t->added);
    for (size_t i = 0; t->added && i < added->len; i++) {
        const JsonValue *v = &added->items[i], *content = get(v, "content");
        AddedToken *x = &t->added[t->n_added];
        if (read_string(r, content, "added_tokens"))
            return STATUS_FAILED;
        *x = (AddedToken){.content = keep(r, content),
                          .len = content->len,
                          .id = (int32_t)json_get(v, "id")->integer,
                          .single_word = is_true(v, "single_word", false),
                          .lstrip = is_true(v, "lstrip", false),
                          .rstrip = is_true(v, "rstrip", false),
                          .normalized = is_true(v, "normalized", true),
                          .special = is_true(v, "special", false)};
        if (!x->content)
            return fail(r, "added_tokens", "out of memory", NULL);
        if (vocab_find(t, x->content, x->len) < 0)
            vocab_put(t, x->content, x->len, x->id);
        t->special[x->id] = x->special;
        t->n_added += x->len > 0;
    }
    return t->added ? STATUS_OK : fail(r, "added_tokens", "out of memory", NULL);
}

/* TemplateProcessing's "single": what stands before and after the text. Processors that only trim offsets change no id. */
static int read_post_processor(Reader *r, const JsonValue *v, int depth)
{
    static const char where[] = "post_processor";
    Tokenizer *t = r->t;
    if (!v)
        return STATUS_OK;
    const JsonValue *type = get(v, "type");
    if (json_is_string(type, "Sequence") && depth < 8) {
        const JsonValue *list = get(v, "processors");
        int status = STATUS_OK;
        for (size_t i = 0; !status && list && list->kind == JSON_ARRAY && i < list->len; i++)
            status = read_post_processor(r, &list->items[i], depth + 1);
        return status;
    }
    if (json_is_string(type, "ByteLevel"))
        return STATUS_OK;
    if (!json_is_string(type, "TemplateProcessing"))
        return fail(r, where, "a component that is not served (served are Sequence, ByteLevel, TemplateProcessing)", type);
    const JsonValue *single = get(v, "single"), *tokens = get(v, "special_tokens");
    if (!single || single->kind != JSON_ARRAY)
        return fail(r, where, "single: expected an array", NULL);
    t->before = arena_array(&t->arena, 16, sizeof *t->before);
    t->after = arena_array(&t->arena, 16, sizeof *t->after);
    bool behind = false;
    for (size_t i = 0; t->before && t->after && i < single->len; i++) {
        const JsonValue *special = get(&single->items[i], "SpecialToken"), *name = get(special, "id");
        if (!special) {
            behind = true;
            continue;
        }
        const JsonValue *entry = name && name->kind == JSON_STRING ? json_get(tokens, name->string) : NULL,
                        *ids = get(entry, "ids");
        int32_t id = -1;
        if (!ids || ids->kind != JSON_ARRAY || ids->len != 1 || t->n_before == 16 || t->n_after == 16)
            return fail(r, where, "expected one id for each special token", name);
        if (read_id(r, &ids->items[0], where, &id))
            return STATUS_FAILED;
        if (behind)
            t->after[t->n_after++] = id;
        else
            t->before[t->n_before++] = id;
    }
    t->adds_bos = t->n_before > 0;
    return t->before && t->after ? STATUS_OK : fail(r, where, "out of memory", NULL);
}

/* The id of a special token of tokenizer_config.json: a string, or an object with "content". */
static int32_t config_token(const Tokenizer *t, const JsonValue *config, const char *key)
{
    const JsonValue *v = get(config, key);
    if (v && v->kind == JSON_OBJECT)
        v = get(v, "content");
    return v && v->kind == JSON_STRING ? vocab_find(t, v->string, v->len) : -1;
}

/* tokenizer_config.json, if it is there: names of BOS and EOS, add_bos_token when no post-processor decided. */
static int read_config(Reader *r, const char *path, bool decided)
{
    Tokenizer *t = r->t;
    StrBuf text = {0};
    Arena arena = {0};
    const JsonValue *config;
    if (!path || !file_exists(path))
        return STATUS_OK;
    int status = file_read(path, MAX_FILE_BYTES, &text, r->error);
    if (!status)
        status = json_parse(text.data ? text.data : "", text.len, path, &arena, &config, r->error);
    if (!status) {
        const JsonValue *add = get(config, "add_bos_token"), *type = get(config, "tokenizer_class");
        int32_t bos = config_token(t, config, "bos_token"), eos = config_token(t, config, "eos_token");
        t->bos = bos >= 0 ? bos : t->bos;
        t->eos = eos >= 0 ? eos : t->eos;
        bool llama = type && (json_is_string(type, "LlamaTokenizer") || json_is_string(type, "LlamaTokenizerFast"));
        if (!decided)
            t->adds_bos = add && add->kind == JSON_BOOL ? add->boolean : t->adds_bos || (llama && t->bos >= 0);
    }
    strbuf_free(&text);
    arena_free(&arena);
    return status;
}

static void describe(Tokenizer *t, const JsonValue *pre)
{
    StrBuf out = {0};
    strbuf_printf(&out, "BPE, %zu tokens", t->n_ids);
    const JsonValue *list = pre ? get(pre, "pretokenizers") : NULL;
    for (size_t i = 0; pre && i < (list ? list->len : 1); i++) {
        const JsonValue *type = get(list ? &list->items[i] : pre, "type");
        strbuf_printf(&out, "%s%s", i ? ", " : "; ", type && type->kind == JSON_STRING ? type->string : "?");
    }
    snprintf(t->description, sizeof t->description, "%s", out.data ? out.data : "BPE");
    strbuf_free(&out);
}

int tokenizer_read_json(Tokenizer *t, const char *path, const char *config_path, Error *e)
{
    Reader r = {.t = t, .path = path, .error = e};
    StrBuf text = {0};
    Arena arena = {0};
    const JsonValue *root = NULL;
    int status = file_read(path, MAX_FILE_BYTES, &text, e);
    if (!status)
        status = json_parse(text.data ? text.data : "", text.len, path, &arena, &root, e);
    const JsonValue *added = status ? NULL : get(root, "added_tokens"), *post = status ? NULL : get(root, "post_processor");
    if (!status)
        status = read_model(&r, get(root, "model"), added);
    if (!status)
        status = read_added(&r, added);
    if (!status)
        status = read_normalizer(&r, get(root, "normalizer"), 0);
    if (!status)
        status = read_pre_tokenizer(&r, get(root, "pre_tokenizer"), 0);
    if (!status)
        status = read_decoder(&r, get(root, "decoder"), 0);
    if (!status)
        status = read_post_processor(&r, post, 0);
    if (!status && t->n_before)
        t->bos = t->before[0];
    if (!status)
        status = read_config(&r, config_path, t->before != NULL);
    if (!status)
        describe(t, get(root, "pre_tokenizer"));
    strbuf_free(&text);
    arena_free(&arena);
    return status;
}
