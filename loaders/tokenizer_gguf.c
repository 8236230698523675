/* tokenizer_gguf.c: the vocabulary inside a GGUF file: SentencePiece's pieces (model llama), or byte-level BPE (model gpt2), whose rules
 * of splitting text the file names by tokenizer.ggml.pre. What each name stands for is written here as the original tokenizer.json
 * has it. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#ggml */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/tokenizer_parts.h"

/* -- the regular expressions, as tokenizer.json of the models has them -- */

#define SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN2 SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN35 SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES
#define SEED SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(suffix, digits) \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" suffix "|" digits \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define GPT4O CASED(SUFFIX "?", "\\p{N}{1,3}")
#define TEKKEN CASED("", "\\p{N}")
#define DEEPSEEK3 \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|" \
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES
/* ideographs up to U+9FA5, hiragana and katakana */
#define DEEPSEEK_CJK "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
#define BLOOM " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"

/* -- what the names of tokenizer.ggml.pre stand for -- */

enum { PRESET_NFC = 1, PRESET_IGNORE_MERGES = 2, MAX_STEPS = 5 };

typedef enum Step {
    STEP_END,
    STEP_SPLIT,       /* by the regular expression */
    STEP_BYTES,       /* to GPT-2's letters */
    STEP_GPT2,        /* the same, and split by GPT-2's expression */
    STEP_DIGIT,       /* each digit for itself */
    STEP_DIGITS,      /* runs of digits */
    STEP_PUNCTUATION, /* runs of punctuation */
} Step;

typedef struct Preset {
    const char *names; /* separated by spaces */
    int flags;
    struct {
        Step step;
        const char *regex;
    } steps[MAX_STEPS];
} Preset;

#define GPT2_NAMES \
    "default gpt-2 gpt2 phi-2 mpt olmo jais trillion exaone4 granite-docling gigachat roberta-bpe modern-bert a.x-4.0 mellum"

static const Preset presets[] = {
    {GPT2_NAMES, 0, {{STEP_GPT2, NULL}}},
    {"smollm starcoder refact codeshell exaone minerva-7b mellum2", 0, {{STEP_DIGIT, NULL}, {STEP_GPT2, NULL}}},
    {"command-r", PRESET_NFC, {{STEP_DIGIT, NULL}, {STEP_GPT2, NULL}}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral lfm2 midm-2.0 glm4",
     PRESET_IGNORE_MERGES,
     {{STEP_SPLIT, LLAMA3}, {STEP_BYTES, NULL}}},
    {"dbrx smaug-bpe chatglm-bpe", 0, {{STEP_SPLIT, LLAMA3}, {STEP_BYTES, NULL}}},
    {"qwen2 deepseek-r1-qwen megrez hunyuan", PRESET_NFC, {{STEP_SPLIT, QWEN2}, {STEP_BYTES, NULL}}},
    {"stablelm2 solar-open grok-2", 0, {{STEP_SPLIT, QWEN2}, {STEP_BYTES, NULL}}},
    {"qwen35", PRESET_NFC, {{STEP_SPLIT, QWEN35}, {STEP_BYTES, NULL}}},
    {"falcon", 0, {{STEP_PUNCTUATION, NULL}, {STEP_GPT2, NULL}, {STEP_DIGITS, NULL}, {STEP_SPLIT, "[0-9][0-9][0-9]"}}},
    {"bloom gpt3-finnish poro-chat", 0, {{STEP_SPLIT, BLOOM}, {STEP_BYTES, NULL}}},
    {"gpt-4o llama4 kanana2 minimax-m2", 0, {{STEP_SPLIT, GPT4O}, {STEP_BYTES, NULL}}},
    {"tekken", PRESET_IGNORE_MERGES, {{STEP_SPLIT, TEKKEN}, {STEP_BYTES, NULL}}},
    {"deepseek-v3 hunyuan-dense joyai-llm",
     0,
     {{STEP_SPLIT, "\\p{N}{1,3}"}, {STEP_SPLIT, DEEPSEEK_CJK}, {STEP_SPLIT, DEEPSEEK3}, {STEP_BYTES, NULL}}},
    {"seed-coder", 0, {{STEP_SPLIT, SEED}, {STEP_BYTES, NULL}}},
};

static int add_step(Tokenizer *t, Step step, const char *regex, Error *e)
{
    TextPart part = {.kind = PART_BYTE_LEVEL, .behavior = SPLIT_ISOLATED};
    int status = STATUS_OK;
    if (step == STEP_GPT2)
        status = text_default_regex(&t->arena, &part.regex, e);
    else if (step == STEP_SPLIT)
        status = pattern_compile(regex, strlen(regex), &t->arena, &part.regex, e);
    if (step == STEP_SPLIT)
        part.kind = PART_SPLIT;
    else if (step == STEP_PUNCTUATION)
        part.kind = PART_PUNCTUATION, part.behavior = SPLIT_CONTIGUOUS;
    else if (step != STEP_BYTES && step != STEP_GPT2)
        part.kind = PART_DIGITS, part.individual = step == STEP_DIGIT;
    t->pre[t->n_pre++] = part;
    return status;
}

/* Whether the words hold this name. */
static bool has_word(const char *words, GgufString name)
{
    for (const char *w = words; *w;) {
        size_t n = strcspn(w, " ");
        if (n == name.len && memcmp(w, name.s, n) == 0)
            return true;
        w += n + (w[n] == ' ');
    }
    return false;
}

static int set_preset(Tokenizer *t, const Gguf *g, const char *file, Error *e)
{
    GgufString name = {"default", 7};
    gguf_string(g, "tokenizer.ggml.pre", &name);
    char known[640] = "";
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        size_t len = strlen(known);
        snprintf(known + len, sizeof known - len, i ? " %s" : "%s", presets[i].names);
        if (!has_word(presets[i].names, name))
            continue;
        t->ignore_merges = presets[i].flags & PRESET_IGNORE_MERGES;
        t->byte_level = true;
        if (presets[i].flags & PRESET_NFC)
            t->normalizers[t->n_normalizers++] = (TextPart){.kind = PART_FORM, .form = UNICODE_NFC};
        int status = STATUS_OK;
        for (int k = 0; !status && k < MAX_STEPS && presets[i].steps[k].step != STEP_END; k++)
            status = add_step(t, presets[i].steps[k].step, presets[i].steps[k].regex, e);
        return status;
    }
    return error_set(e, STATUS_FAILED, "%s: tokenizer.ggml.pre: \"%.*s\" is not served (%s are)", file,
                     (int)(name.len < 60 ? name.len : 60), name.s, known);
}

static int read_merges(Tokenizer *t, const GgufValue *merges, const char *file, Error *e)
{
    int status = merges_init(t, merges->array_len, e);
    for (size_t i = 0; !status && i < merges->array_len; i++) {
        GgufString m = merges->strings[i];
        const char *space = m.len > 1 ? memchr(m.s + 1, ' ', m.len - 1) : NULL;
        size_t left = space ? (size_t)(space - m.s) : 0, right = space ? m.len - left - 1 : 0;
        char joined[1024];
        if (!space || left + right > sizeof joined)
            return error_set(e, STATUS_FAILED, "%s: tokenizer.ggml.merges[%zu]: expected two tokens", file, i);
        memcpy(joined, m.s, left);
        memcpy(joined + left, space + 1, right);
        int32_t a = vocab_find(t, m.s, left), b = vocab_find(t, space + 1, right), both = vocab_find(t, joined, left + right);
        if (a < 0 || b < 0 || both < 0)
            return error_set(e, STATUS_FAILED, "%s: tokenizer.ggml.merges[%zu]: a token that is not in the vocabulary", file,
                             i);
        merges_put(t, a, b, (int32_t)i, both);
    }
    return status;
}

static int32_t gguf_id(const Gguf *g, const char *key, size_t n)
{
    int64_t id;
    return gguf_integer(g, key, &id) && id >= 0 && (uint64_t)id < n ? (int32_t)id : -1;
}

int tokenizer_read_gguf(Tokenizer *t, const Gguf *g, const char *file, Error *e)
{
    GgufString model = {"", 0};
    const GgufValue *tokens = gguf_get(g, "tokenizer.ggml.tokens"), *types = gguf_get(g, "tokenizer.ggml.token_type");
    const GgufValue *scores = gguf_get(g, "tokenizer.ggml.scores"), *merges = gguf_get(g, "tokenizer.ggml.merges");
    gguf_string(g, "tokenizer.ggml.model", &model);
    bool bytes = model.len == 4 && memcmp(model.s, "gpt2", 4) == 0, spm = model.len == 5 && memcmp(model.s, "llama", 5) == 0;
    if (!tokens || tokens->type != GGUF_ARRAY || !tokens->strings || !tokens->array_len)
        return error_set(e, STATUS_FAILED, "%s: tokenizer.ggml.tokens: expected an array of strings", file);
    if (!bytes && !spm)
        return error_set(e, STATUS_FAILED, "%s: tokenizer.ggml.model: \"%.*s\" is not served: expected gpt2 or llama", file,
                         (int)(model.len < 60 ? model.len : 60), model.s);
    size_t n = tokens->array_len;
    if ((types && types->array_len != n) || (spm && (!scores || scores->array_len != n)) ||
        (bytes && (!merges || !merges->strings)))
        return error_set(e, STATUS_FAILED, "%s: tokenizer.ggml: types, scores or merges do not fit %zu tokens", file, n);
    int status = tokenizer_init_pieces(t, n, file, e);
    for (size_t i = 0; !status && i < n; i++) {
        const char *s = arena_strndup(&t->arena, tokens->strings[i].s, tokens->strings[i].len);
        int type = types ? (int)gguf_array_integer(types, i) : PIECE_NORMAL;
        if (!s)
            return error_set(e, STATUS_FAILED, "%s: out of memory", file);
        vocab_put(t, s, tokens->strings[i].len, (int32_t)i);
        if (spm)
            tokenizer_set_piece(t, (int32_t)i, type, (float)gguf_array_number(scores, i));
        else if (type == PIECE_CONTROL || type == PIECE_USER_DEFINED || type == PIECE_UNKNOWN)
            tokenizer_add_piece(t, (int32_t)i, type != PIECE_USER_DEFINED);
    }
    bool flag;
    if (!status && spm) {
        tokenizer_set_spaces(t, gguf_bool(g, "tokenizer.ggml.add_space_prefix", &flag) ? flag : true);
        t->fuse_unk = true;
    } else if (!status) {
        status = read_merges(t, merges, file, e);
        if (!status)
            status = set_preset(t, g, file, e);
    }
    t->bos = gguf_id(g, "tokenizer.ggml.bos_token_id", n);
    t->eos = gguf_id(g, "tokenizer.ggml.eos_token_id", n);
    t->adds_bos = gguf_bool(g, "tokenizer.ggml.add_bos_token", &flag) ? flag : spm && t->bos >= 0;
    snprintf(t->description, sizeof t->description, "GGUF %s, %zu tokens", spm ? "SentencePiece BPE" : "byte-level BPE", n);
    return status;
}
