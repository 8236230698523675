/* test_tokenizer_gguf.c: byte-level vocabularies inside GGUF metadata: every name of tokenizer.ggml.pre against what the Hugging Face
 * tokenizers library gives with that family's own components (tests/data/tokenizer/presets.json, made by
 * tools/make_preset_fixtures.py). The metadata is put together here from the vocabulary and merges of the gpt2 fixture. */
#include "loaders/tokenizer.h"
#include "tests/read_json.h"

#define FOLDER "tests/data/tokenizer/"

/* Values sorted by key, as gguf_parse leaves them. */
typedef struct Vocabulary {
    Arena arena;
    GgufValue values[4];
    Gguf gguf;
} Vocabulary;

static bool vocabulary_read(Vocabulary *v)
{
    *v = (Vocabulary){0};
    const JsonValue *model = json_get(read_json(FOLDER "gpt2/tokenizer.json", &v->arena), "model");
    const JsonValue *vocab = json_get(model, "vocab"), *merges = json_get(model, "merges");
    CHECK(vocab && merges);
    if (!vocab || !merges)
        return false;
    GgufString *tokens = arena_array(&v->arena, vocab->len, sizeof *tokens);
    GgufString *pairs = arena_array(&v->arena, merges->len, sizeof *pairs);
    for (size_t i = 0; i < vocab->len; i++)
        tokens[vocab->items[i].integer] = (GgufString){vocab->keys[i].string, vocab->keys[i].len};
    for (size_t i = 0; i < merges->len; i++) {
        const JsonValue *left = &merges->items[i].items[0], *right = &merges->items[i].items[1];
        char *pair = arena_alloc(&v->arena, left->len + right->len + 2);
        snprintf(pair, left->len + right->len + 2, "%s %s", left->string, right->string);
        pairs[i] = (GgufString){pair, left->len + right->len + 1};
    }
    v->values[0] = (GgufValue){.key = "tokenizer.ggml.merges",
                               .type = GGUF_ARRAY,
                               .array_type = GGUF_STRING,
                               .array_len = merges->len,
                               .strings = pairs};
    v->values[1] = (GgufValue){.key = "tokenizer.ggml.model", .type = GGUF_STRING, .as.string = {"gpt2", 4}};
    v->values[2] = (GgufValue){.key = "tokenizer.ggml.pre", .type = GGUF_STRING};
    v->values[3] = (GgufValue){.key = "tokenizer.ggml.tokens",
                               .type = GGUF_ARRAY,
                               .array_type = GGUF_STRING,
                               .array_len = vocab->len,
                               .strings = tokens};
    v->gguf = (Gguf){.values = v->values, .n_values = 4};
    return true;
}

static int open_preset(Vocabulary *v, const char *name, Tokenizer **out, Error *e)
{
    v->values[2].as.string = (GgufString){name, strlen(name)};
    return tokenizer_open_gguf(&v->gguf, "made.gguf", out, e);
}

static void presets(void)
{
    Vocabulary v;
    if (!vocabulary_read(&v))
        return;
    const JsonValue *texts = read_json(FOLDER "texts.json", &v.arena), *expected = read_json(FOLDER "presets.json", &v.arena);
    CHECK(expected && expected->len >= 14);
    for (size_t p = 0; expected && p < expected->len; p++) {
        Tokenizer *t = NULL;
        TokenList l = {0};
        Error e = {{0}};
        const JsonValue *rows = &expected->items[p];
        size_t n_wrong = 0;
        int status = open_preset(&v, expected->keys[p].string, &t, &e);
        CHECK_MSG(status == 0, "%s", e.text);
        for (size_t i = 0; !status && i < rows->len; i++) {
            const JsonValue *x = &texts->items[i], *want = &rows->items[i];
            status = tokenizer_encode(t, x->string, x->len, false, &l, &e);
            CHECK_MSG(status == 0, "%s", e.text);
            bool same = l.n == want->len;
            for (size_t k = 0; same && k < l.n; k++)
                same = l.tokens[k].id == want->items[k].integer;
            if (!same && n_wrong++ < 3)
                printf("%s: text %zu: ids differ\n", expected->keys[p].string, i);
        }
        CHECK_MSG(n_wrong == 0, "%s: %zu of %zu texts", expected->keys[p].string, n_wrong, rows->len);
        token_list_free(&l);
        tokenizer_close(t);
    }
    arena_free(&v.arena);
}

static void unknown_presets(void)
{
    static const char *const names[] = {"", "gpt", "gpt-22", "llama-bpe llama3", " ", "Qwen2"};
    Vocabulary v;
    if (!vocabulary_read(&v))
        return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        Tokenizer *t = NULL;
        Error e = {{0}};
        CHECK_MSG(open_preset(&v, names[i], &t, &e) == STATUS_FAILED && !t, "\"%s\"", names[i]);
        CHECK_MSG(strstr(e.text, "tokenizer.ggml.pre") && strstr(e.text, "llama-bpe"), "%s", e.text);
    }
    arena_free(&v.arena);
}

int main(void)
{
    RUN(presets);
    RUN(unknown_presets);
    return test_finish();
}
