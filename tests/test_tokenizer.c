/* test_tokenizer.c: ids and decoded texts against dumps of the Hugging Face tokenizers library and of transformers
 * (tools/make_tokenizer_fixtures.py), spans by their own rules, damaged files, and long texts. */
#include <stdint.h>
#include <unistd.h>

#include "loaders/tokenizer.h"
#include "tests/read_json.h"

#define FOLDER "tests/data/tokenizer/"

static const char *const kinds[] = {"llama3", "gpt2",   "qwen2",        "smollm", "deepseek", "o200k",      "possessive",
                                    "falcon", "llama2", "llama2_first", "always", "phi3",     "normalized", "spm"};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* In order, never overlapping, and together the whole text. */
static bool spans_cover(const TokenList *l, size_t len)
{
    size_t at = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (l->tokens[i].byte_start != at || l->tokens[i].byte_end < at)
            return false;
        at = l->tokens[i].byte_end;
    }
    return at == len;
}

/* Without a normalizer each token's span holds just its bytes (an added token may have stripped spaces around it). */
static bool spans_spell(const Tokenizer *t, const TokenList *l, const char *text)
{
    for (size_t i = 0; i < l->n; i++) {
        char bytes[256];
        size_t n = tokenizer_token_bytes(t, l->tokens[i].id, bytes, sizeof bytes);
        size_t start = l->tokens[i].byte_start, len = l->tokens[i].byte_end - start;
        if (n > sizeof bytes || len < n || (len > n && bytes[0] != '<') || (len == n && memcmp(text + start, bytes, n) != 0))
            return false;
    }
    return true;
}

/* Every step-th id, decoded. */
static bool decodes(const Tokenizer *t, const JsonValue *ids, size_t step, const JsonValue *want)
{
    StrBuf decoded = {0};
    Error e = {{0}};
    int32_t *list = malloc((ids->len + 1) * sizeof *list);
    size_t n = 0;
    for (size_t k = 0; list && k < ids->len; k += step)
        list[n++] = (int32_t)ids->items[k].integer;
    bool same = list && tokenizer_decode(t, list, n, &decoded, &e) == 0 && decoded.len == want->len &&
                (decoded.len == 0 || memcmp(decoded.data, want->string, decoded.len) == 0);
    if (!same)
        printf("decoded: got \"%s\", expected \"%s\"\n", decoded.data ? decoded.data : "", want->string);
    free(list);
    strbuf_free(&decoded);
    return same;
}

static void check_kind(const char *kind, const JsonValue *texts)
{
    char path[256];
    Arena arena = {0};
    Error e = {{0}};
    Tokenizer *t = NULL;
    TokenList l = {0};
    size_t n_ids_wrong = 0, n_spans_wrong = 0, n_decoded_wrong = 0;
    snprintf(path, sizeof path, FOLDER "%s/expected.json", kind);
    const JsonValue *expected = read_json(path, &arena), *ids = json_get(expected, "ids"),
                    *special = json_get(expected, "special");
    const JsonValue *spelled = json_get(expected, "decoded"), *halves = json_get(expected, "halves");
    snprintf(path, sizeof path, FOLDER "%s", kind);
    int status = tokenizer_open_dir(path, &t, &e);
    CHECK_MSG(status == 0, "%s", e.text);
    CHECK(ids && special && spelled && ids->len == texts->len);
    bool plain = strcmp(kind, "llama3") == 0 || strcmp(kind, "gpt2") == 0 || strcmp(kind, "smollm") == 0 ||
                 strcmp(kind, "deepseek") == 0 || strcmp(kind, "o200k") == 0;
    for (size_t i = 0; !status && ids && spelled && i < texts->len && i < ids->len; i++) {
        const JsonValue *x = &texts->items[i], *want = &ids->items[i];
        if (want->kind == JSON_NULL)
            continue;
        status = tokenizer_encode(t, x->string, x->len, false, &l, &e);
        CHECK_MSG(status == 0, "%s", e.text);
        bool same = l.n == want->len;
        for (size_t k = 0; same && k < l.n; k++)
            same = l.tokens[k].id == want->items[k].integer;
        if (!same && n_ids_wrong++ < 3)
            printf("%s: text %zu: ids differ\n", kind, i);
        if (!(spans_cover(&l, x->len) && (!plain || spans_spell(t, &l, x->string))) && n_spans_wrong++ < 3)
            printf("%s: text %zu: spans are wrong\n", kind, i);
        n_decoded_wrong +=
            !decodes(t, want, 1, &spelled->items[i]) || (halves && halves->len && !decodes(t, want, 2, &halves->items[i]));
    }
    CHECK_MSG(n_ids_wrong == 0, "%s: %zu of %zu texts", kind, n_ids_wrong, texts->len);
    CHECK_MSG(n_spans_wrong == 0, "%s: %zu of %zu texts", kind, n_spans_wrong, texts->len);
    CHECK_MSG(n_decoded_wrong == 0, "%s: %zu of %zu texts", kind, n_decoded_wrong, texts->len);
    if (!status && special) {
        status = tokenizer_encode(t, texts->items[0].string, texts->items[0].len, true, &l, &e);
        bool same = status == 0 && l.n == special->len;
        for (size_t k = 0; same && k < l.n; k++)
            same = l.tokens[k].id == special->items[k].integer;
        CHECK_MSG(same, "%s: with special tokens", kind);
        CHECK_MSG(same && tokenizer_adds_bos(t) == (l.tokens[0].id == tokenizer_bos(t)), "%s: bos", kind);
    }
    token_list_free(&l);
    tokenizer_close(t);
    arena_free(&arena);
}

static void test_against_references(void)
{
    Arena arena = {0};
    const JsonValue *texts = read_json(FOLDER "texts.json", &arena);
    for (size_t i = 0; texts && i < N_KINDS; i++)
        check_kind(kinds[i], texts);
    arena_free(&arena);
}

static void test_invalid_utf8(void)
{
    Tokenizer *t = NULL;
    TokenList l = {0};
    Error e = {{0}};
    CHECK(tokenizer_open_dir(FOLDER "gpt2", &t, &e) == 0);
    CHECK(tokenizer_encode(t, "abc\xff", 4, false, &l, &e) != 0);
    CHECK_MSG(strstr(e.text, "3") != NULL, "%s", e.text);
    token_list_free(&l);
    tokenizer_close(t);
}

/* Long runs: one word of the whole text, and the white space patterns that tempt a matcher to go back and forth. */
static void test_long_texts(void)
{
    enum { LEN = 300000 };
    static const char *const fills[] = {"a", " ", "\n", "1", "'", "ab ", "<", " \n"};
    char *text = malloc(LEN);
    for (size_t k = 0; text && k < N_KINDS; k++) {
        char path[256];
        Tokenizer *t = NULL;
        TokenList l = {0};
        Error e = {{0}};
        snprintf(path, sizeof path, FOLDER "%s", kinds[k]);
        CHECK(tokenizer_open_dir(path, &t, &e) == 0);
        for (size_t f = 0; t && f < sizeof fills / sizeof *fills; f++) {
            size_t n = strlen(fills[f]);
            for (size_t i = 0; i < LEN; i++)
                text[i] = fills[f][i % n];
            CHECK_MSG(tokenizer_encode(t, text, LEN, false, &l, &e) == 0, "%s: %s", kinds[k], e.text);
            CHECK_MSG(spans_cover(&l, LEN), "%s: text %zu", kinds[k], f);
        }
        token_list_free(&l);
        tokenizer_close(t);
    }
    free(text);
}

static void try_damaged(const char *path, const char *bytes, size_t len)
{
    Tokenizer *t = NULL;
    TokenList l = {0};
    Error e = {{0}};
    FILE *f = fopen(path, "wb");
    if (f) {
        fwrite(bytes, 1, len, f);
        fclose(f);
    }
    if (tokenizer_open_file(path, &t, &e) == 0) {
        static const char text[] = "Hello <s> w\xc3\xb6rld 123 \xe2\x96\x81";
        if (tokenizer_encode(t, text, sizeof text - 1, true, &l, &e) != 0)
            CHECK(e.text[0] != 0);
    } else {
        CHECK(e.text[0] != 0 && !strchr(e.text, '\n'));
    }
    token_list_free(&l);
    tokenizer_close(t);
}

/* Cut and altered files open or give an error; the sanitizers watch. */
static void damage(const char *source, const char *name)
{
    char folder[] = "/tmp/strata-tokenizer-XXXXXX", path[256];
    StrBuf b = {0};
    Error e = {{0}};
    uint32_t random = 12345;
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK(file_read(source, (size_t)1 << 24, &b, &e) == 0);
    char *copy = malloc(b.len + 1);
    for (int round = 0; copy && b.data && round < 150; round++) {
        memcpy(copy, b.data, b.len);
        size_t len = b.len;
        random = random * 1664525u + 1013904223u;
        if (round % 3 == 0)
            len = random % b.len;
        for (int k = 0; round % 3 != 0 && k <= round % 4; k++) {
            random = random * 1664525u + 1013904223u;
            size_t at = round % 2 ? random % b.len : (random >> 8) % (b.len < 3000 ? b.len : 3000);
            copy[at] = round % 5 ? (char)(random >> 16) : "0\"{}[]-9"[random >> 16 & 7];
        }
        try_damaged(path, copy, len);
    }
    free(copy);
    strbuf_free(&b);
    unlink(path);
    rmdir(folder);
}

static void test_damaged_files(void)
{
    damage(FOLDER "llama2_first/tokenizer.json", "tokenizer.json");
    damage(FOLDER "qwen2/tokenizer.json", "tokenizer.json");
    damage(FOLDER "spm/tokenizer.model", "tokenizer.model");
}

int main(void)
{
    RUN(test_against_references);
    RUN(test_invalid_utf8);
    RUN(test_long_texts);
    RUN(test_damaged_files);
    return test_finish();
}
