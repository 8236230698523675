/* test_windows.c: rows to windows under every protocol, counted by hand. In tests/byte_tokenizer.h's vocabulary
 * the id of a token is its byte, so that ids and spans can be read off the text. */
#include <unistd.h>

#include "loaders/windows.h"
#include "tests/byte_tokenizer.h"
#include "tests/test.h"

enum { BOS = BYTE_TOKENIZER_BOS, VOCAB = BYTE_TOKENIZER_VOCAB };
static char folder[] = "/tmp/strata-windows-XXXXXX";
static Tokenizer *tokenizer;

static void put_file(const char *name, const char *text, size_t len, char *path, size_t path_bytes)
{
    snprintf(path, path_bytes, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(text, 1, len, f) == len && fclose(f) == 0);
}

/* One build; the text is a file NAME of its own. */
typedef struct Built {
    Dataset data;
    Windows w;
    int status;
    Error error;
} Built;

static void build_with(Built *b, const char *name, const char *text, WindowOptions o, const Tokenizer *t)
{
    char path[96];
    memset(b, 0, sizeof *b);
    put_file(name, text, strlen(text), path, sizeof path);
    o.vocab = o.vocab ? o.vocab : VOCAB;
    b->status = dataset_open(NULL, path, NULL, &b->data, &b->error);
    CHECK_MSG(b->status == STATUS_OK, "%s", b->error.text);
    if (!b->status)
        b->status = windows_build(&b->data, t, &o, &b->w, &b->error);
}

static void build(Built *b, const char *name, const char *text, WindowOptions o)
{
    build_with(b, name, text, o, tokenizer);
    CHECK_MSG(b->status == STATUS_OK, "%s", b->error.text);
}

static void finish(Built *b)
{
    windows_free(&b->w);
    dataset_close(&b->data);
}

/* The rules of windows.h that hold for any input. */
static void check_axes(const Windows *w, const char *text)
{
    size_t t = 0, longest = 0;
    CHECK(w->start[0] == 0 && w->start[w->n_windows] == w->n_ids && w->n_tokens == w->n_ids - w->n_windows);
    for (size_t i = 0; i < w->n_windows; i++) {
        size_t n = w->start[i + 1] - w->start[i];
        CHECK(n >= 2 && n <= w->context && windows_first_token(w, i) == t);
        longest = n > longest ? n : longest;
        for (size_t k = 1; k < n; k++, t++) {
            int32_t id = w->ids[w->start[i] + k];
            CHECK(w->token_id[t] == id && w->window[t] == (int32_t)i && w->position[t] == (int32_t)k);
            CHECK(w->row[t] == w->window_row[i]);
            if (text)
                CHECK(w->byte_end[t] == w->byte_start[t] + 1 && (unsigned char)text[w->byte_start[t]] == id);
        }
    }
    CHECK(w->longest == longest && t == w->n_tokens);
}

/* The ids of a window, BOS as '^'. */
static const char *spelled(const Windows *w, size_t window)
{
    static char out[64];
    size_t n = w->start[window + 1] - w->start[window];
    for (size_t i = 0; i < n && i + 1 < sizeof out; i++) {
        int32_t id = w->ids[w->start[window] + i];
        out[i] = id == BOS ? '^' : (char)id;
        out[i + 1] = '\0';
    }
    return out;
}

static const char four_rows[] = "abc\nd\n   \ne fg hijk lmno\n p\xc3\xa9 q\n";

static void rows_without_bos(void)
{
    Built b;
    build(&b, "four.txt", four_rows, (WindowOptions){.context = 8, .bos_id = -1});
    const Windows *w = &b.w;
    CHECK(w->n_rows == 4 && w->n_windows == 3 && w->protocol == WINDOW_ROWS && !w->bos && w->text == NULL);
    CHECK_STR(spelled(w, 0), "abc");
    CHECK_STR(spelled(w, 1), "e fg hij"); /* cut at the context */
    CHECK_STR(spelled(w, 2), " p\xc3\xa9 q");
    check_axes(w, NULL);
    CHECK(w->window_row[0] == 0 && w->window_row[1] == 2 && w->window_row[2] == 3);
    CHECK(w->row_tokens[0] == 2 && w->row_tokens[1] == 0 && w->row_tokens[2] == 7 && w->row_tokens[3] == 5);
    CHECK(w->byte_start[0] == 1 && w->byte_end[0] == 2);   /* the b of abc */
    CHECK(w->byte_start[11] == 3 && w->byte_end[11] == 4); /* the second byte of the accented e */
    CHECK(w->n_unscored == 1 + 1 + 1 + 6 + 1);             /* first ids, the row "d", the tail of six */
    CHECK(w->counts.n_tokens == 14 && w->counts.n_bytes == 14);
    CHECK(w->counts.n_words == 1 + 2 + 2); /* abc; fg, hijk; the e of row 2 is not predicted; pé, q */
    CHECK(w->n_units == 3 && !w->units_are_articles && w->unit[2] == 2 && w->has_text);
    finish(&b);
}

static void rows_with_bos(void)
{
    Built b;
    build(&b, "four.txt", four_rows, (WindowOptions){.context = 8, .bos = true, .bos_id = BOS});
    const Windows *w = &b.w;
    CHECK(w->n_windows == 4 && w->bos && w->longest == 8);
    CHECK_STR(spelled(w, 0), "^abc");
    CHECK_STR(spelled(w, 1), "^d");
    CHECK_STR(spelled(w, 2), "^e fg hi"); /* BOS counts into the context */
    check_axes(w, NULL);
    CHECK(w->n_unscored == 7 && w->counts.n_tokens == 3 + 1 + 7 + 6);
    CHECK(w->byte_start[0] == 0 && w->position[0] == 1);
    CHECK(w->counts.n_words == 1 + 1 + 3 + 2);
    finish(&b);
    build(&b, "four.txt", four_rows, (WindowOptions){.context = 8, .bos = true, .bos_id = BOS, .max_samples = 2});
    CHECK(b.w.n_rows == 2 && b.w.n_windows == 2 && b.w.n_unscored == 0); /* rows beyond were not asked for */
    finish(&b);
    build(&b, "four.txt", four_rows, (WindowOptions){.context = 8, .bos_id = -1, .max_samples = 2});
    CHECK(b.w.n_rows == 2 && b.w.n_windows == 1 &&
          b.w.n_unscored == 2); /* counted before tokenisation: "d" is one of the two */
    finish(&b);
}

/* Text protocols: windows of exactly the context, the rest dropped. */
static void one_text(void)
{
    static const char text[] = "ab cd\n\nefg h";
    Built b;
    build(&b, "text.txt", text, (WindowOptions){.protocol = WINDOW_FILE, .context = 4, .bos_id = -1});
    const Windows *w = &b.w;
    CHECK(w->n_windows == 3 && w->n_ids == 12 && w->n_rows == 1 && w->text_len == 12 && memcmp(w->text, text, 12) == 0);
    CHECK_STR(spelled(w, 1), "d\n\ne");
    check_axes(w, text);
    CHECK(w->n_unscored == 3 && w->row_tokens[0] == 9);
    /* b_c | \n \n e | g _ h: ab, cd, efg (one word in two windows), h. */
    CHECK(w->counts.n_tokens == 9 && w->counts.n_bytes == 9 && w->counts.n_words == 4);
    CHECK(w->n_units == 3 && !w->units_are_articles);
    finish(&b);

    build(&b, "text.txt", text, (WindowOptions){.protocol = WINDOW_FILE, .context = 6, .bos = true, .bos_id = BOS});
    w = &b.w;
    CHECK(w->n_windows == 2 && w->longest == 6);
    CHECK_STR(spelled(w, 0), "^ab cd");
    CHECK_STR(spelled(w, 1), "^\n\nefg");
    check_axes(w, text);
    CHECK(w->n_unscored == 2 && w->text_len == 10); /* " h" does not fill a window */
    finish(&b);

    build(&b, "text.txt", text, (WindowOptions){.protocol = WINDOW_FILE, .context = 4, .bos_id = -1, .max_samples = 2});
    w = &b.w;
    CHECK(w->n_windows == 2 && w->n_unscored == 2 && w->text_len == 8); /* the third window was not asked for */
    finish(&b);

    /* concat: the rows of the Hugging Face data set, "ab cd\n", "" and "efg h", joined by two newlines. */
    static const char joined[] = "ab cd\n\n\n\n\nefg h";
    build(&b, "text.txt", text, (WindowOptions){.protocol = WINDOW_CONCAT, .context = 5, .bos_id = -1});
    w = &b.w;
    CHECK(w->n_windows == 3 && w->text_len == 15 && memcmp(w->text, joined, 15) == 0);
    CHECK_STR(spelled(w, 1), "\n\n\n\n\n");
    check_axes(w, joined);
    CHECK(w->n_unscored == 3);
    finish(&b);

    /* The last window ends inside a character: the text of rows.jsonl keeps it whole. */
    static const char accent[] = "abc\xc3\xa9xyz";
    build(&b, "accent.txt", accent, (WindowOptions){.protocol = WINDOW_FILE, .context = 4, .bos_id = -1, .max_samples = 1});
    CHECK(b.w.text_len == 5 && b.w.byte_end[2] == 4 && b.w.counts.n_bytes == 3 && b.w.counts.n_words == 1);
    finish(&b);
}

static void rows_of_ids(void)
{
    Built b;
    static const char ids[] = "{\"ids\":[5,6,7]}\n{\"ids\":[]}\n{\"ids\":[9]}\n{\"ids\":[1,2,3,4,5,6,7,8,9]}\n";
    build_with(&b, "ids.jsonl", ids, (WindowOptions){.context = 6, .bos = true, .bos_id = BOS}, NULL);
    const Windows *w = &b.w;
    CHECK_MSG(b.status == STATUS_OK, "%s", b.error.text);
    CHECK(w->n_rows == 4 && w->n_windows == 2 && w->ids[0] == 5 && w->ids[3] == 1); /* never a BOS */
    CHECK(w->start[1] == 3 && w->start[2] == 9 && w->n_unscored == 1 + 0 + 1 + 1 + 3);
    for (size_t t = 0; t < w->n_tokens; t++)
        CHECK(w->byte_start[t] == 0 && w->byte_end[t] == 0);
    CHECK(!w->has_text && w->counts.n_tokens == 7 && w->counts.n_words == 0 && w->counts.n_bytes == 0);
    finish(&b);
    build(&b, "mixed.jsonl", "{\"text\":\"ab\"}\n{\"ids\":[1,2]}\n", (WindowOptions){.context = 6, .bos = true, .bos_id = BOS});
    CHECK_STR(spelled(&b.w, 0), "^ab");
    CHECK(b.w.start[2] - b.w.start[1] == 2 && !b.w.has_text);
    finish(&b);
}

static void articles_are_units(void)
{
    Built b;
    static const char wiki[] =
        "before any title\n\n = A = \n\n first row\n\n = = Part = = \n\n second row\n\n = B = \n\n third row\n";
    build(&b, "wiki.txt", wiki, (WindowOptions){.context = 64, .bos_id = -1});
    CHECK(b.w.units_are_articles && b.w.n_windows == 7 && b.w.n_units == 3);
    static const int32_t units[] = {0, 1, 1, 1, 1, 2, 2};
    for (size_t i = 0; i < 7 && i < b.w.n_windows; i++)
        CHECK_MSG(b.w.unit[i] == units[i], "window %zu: unit %d", i, b.w.unit[i]);
    finish(&b);
    build(&b, "wiki.txt", wiki, (WindowOptions){.protocol = WINDOW_FILE, .context = 16, .bos_id = -1});
    CHECK(!b.w.units_are_articles && b.w.n_units == b.w.n_windows);
    finish(&b);
}

/* The hashes that windows.h describes, as Python's hashlib gives them:
 * sha256(b"".join(struct.pack("<Q", len(r)) + r for r in [b"ab", b"cde"]));
 * sha256(struct.pack("<Q", 2**63 + 2) + struct.pack("<2i", 7, 8)); sha256(b"ab\ncde\n");
 * sha256(struct.pack("<5i", *b"abcde") + struct.pack("<3Q", 0, 2, 5)). */
static void hashes(void)
{
    Built b;
    build(&b, "hash.txt", "ab\ncde\n", (WindowOptions){.context = 9, .bos_id = -1});
    CHECK_STR(b.w.rows_sha256, "03a4435787af366edb660b5401f231b91243e6b7775683eeb0add28b1de6a76d");
    CHECK_STR(b.w.ids_sha256, "e63b3af98cdc0614b348e972e54346e78ab979886583f2d2846ee7d20e4a2caf");
    finish(&b);
    build(&b, "hash.jsonl", "{\"ids\":[7,8]}\n", (WindowOptions){.context = 9, .bos_id = -1});
    CHECK_STR(b.w.rows_sha256, "b0686b944a40a29b962d180fabf08981bf341b2c4a1fc40f120996f253d1a331");
    finish(&b);
    build(&b, "hash.txt", "ab\ncde\n", (WindowOptions){.protocol = WINDOW_FILE, .context = 3, .bos_id = -1});
    CHECK_STR(b.w.rows_sha256, "dfee523e9d327024fce4b98e83660c949f00c930ec2f6d37509a0cdc51e97f22");
    finish(&b);
}

static void refuses(void)
{
    static const struct {
        const char *name, *text, *error;
        WindowOptions options;
        int status;
        bool no_tokenizer;
    } cases[] = {
        {"both.jsonl",
         "{\"text\":\"a b\"}\n{\"text\":\"a\",\"ids\":[1,2]}\n",
         "line 2",
         {.context = 8, .bos_id = -1},
         1,
         false},
        {"large.jsonl",
         "{\"ids\":[1,2]}\n\n{\"ids\":[1,300]}\n",
         "line 3 (row 1): id 300 at index 1",
         {.context = 8, .bos_id = -1},
         1,
         true},
        {"small.txt", "ab\n", "outside the model's vocabulary of 98", {.context = 8, .bos_id = -1, .vocab = 98}, 1, false},
        {"small.txt",
         "ab\n",
         "outside the model's vocabulary of 98",
         {.protocol = WINDOW_FILE, .context = 2, .bos_id = -1, .vocab = 98},
         1,
         false},
        {"negative.jsonl", "{\"ids\":[1,2]}\n{\"ids\":[-1,2]}\n", "line 2", {.context = 8, .bos_id = -1}, 1, true},
        {"text.txt", "ab\n", "no tokenizer", {.context = 8, .bos_id = -1}, 1, true},
        {"text.txt", "ab\n", "no tokenizer", {.protocol = WINDOW_FILE, .context = 2, .bos_id = -1}, 1, true},
        {"ids.jsonl",
         "{\"ids\":[1,2]}\n",
         "expected --protocol rows",
         {.protocol = WINDOW_CONCAT, .context = 2, .bos_id = -1},
         2,
         false},
        {"short.txt", "a\nb\n", "nothing to predict", {.context = 8, .bos_id = -1}, 1, false},
        {"short.txt",
         "a\nb\n",
         "4 ids give 0 windows of context 5",
         {.protocol = WINDOW_FILE, .context = 5, .bos_id = -1},
         1,
         false},
        {"text.txt", "ab\n", "--context 1", {.context = 1, .bos_id = -1}, 2, false},
        {"text.txt", "ab\n", "--bos yes", {.context = 8, .bos = true, .bos_id = -1}, 2, false},
        {"text.txt", "ab\n", "BOS id 256", {.context = 8, .bos = true, .bos_id = BOS, .vocab = 256}, 1, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Built b;
        memset(&b, 0, sizeof b);
        WindowOptions o = cases[i].options;
        char path[96];
        put_file(cases[i].name, cases[i].text, strlen(cases[i].text), path, sizeof path);
        o.vocab = o.vocab ? o.vocab : VOCAB;
        b.status = dataset_open(NULL, path, NULL, &b.data, &b.error); /* some are found when the file is read */
        if (!b.status)
            b.status = windows_build(&b.data, cases[i].no_tokenizer ? NULL : tokenizer, &o, &b.w, &b.error);
        CHECK_MSG(b.status == cases[i].status && strstr(b.error.text, cases[i].error), "case %zu: %d, \"%s\", expected \"%s\"",
                  i, b.status, b.error.text, cases[i].error);
        CHECK(!b.w.ids && !b.w.start);
        finish(&b);
    }
}

/* Fewest blocks under the cap, by the greedy argument; then the least height of the tallest one, by trying all heights. */
static void check_partition(const Windows *w, size_t target)
{
    WindowBlocks b;
    Error e;
    CHECK(windows_partition(w, target, &b, &e) == STATUS_OK);
    size_t best_n = 0, best_height = 0, cap = target > w->longest ? target : w->longest;
    for (size_t height = cap; height >= w->longest; height--) {
        size_t n = 1, used = 0;
        for (size_t i = 0; i < w->n_windows; i++) {
            size_t ids = w->start[i + 1] - w->start[i];
            if (used && used + ids > height) {
                n++;
                used = 0;
            }
            used += ids;
        }
        if (height == cap)
            best_n = n;
        if (n == best_n)
            best_height = height;
    }
    size_t tallest = 0, tokens = 0;
    CHECK(b.n_blocks == best_n && b.first_window[0] == 0 && b.first_window[b.n_blocks] == w->n_windows);
    for (size_t i = 0; i < b.n_blocks; i++) {
        size_t first = b.first_window[i], last = b.first_window[i + 1], ids = w->start[last] - w->start[first];
        CHECK(last > first && ids <= cap);
        CHECK(b.n_tokens[i] == ids - (last - first) && b.n_tokens[i] <= b.max_tokens && last - first <= b.max_windows);
        tallest = ids > tallest ? ids : tallest;
        tokens += b.n_tokens[i];
    }
    CHECK_MSG(tallest <= best_height && b.max_ids == tallest, "%zu ids, expected at most %zu", tallest, best_height);
    CHECK(tokens == w->n_tokens && b.target_ids == target);
    size_t starts[64];
    if (w->n_windows < 64) {
        windows_relative_starts(w, b.first_window[b.n_blocks - 1], 1, starts);
        CHECK(starts[0] == 0 &&
              starts[1] == w->start[b.first_window[b.n_blocks - 1] + 1] - w->start[b.first_window[b.n_blocks - 1]]);
    }
    window_blocks_free(&b);
}

static void partitions(void)
{
    StrBuf rows = {0};
    unsigned x = 7;
    for (int r = 0; r < 40; r++) {
        x = x * 1103515245u + 12345u;
        for (unsigned i = 0; i < 2 + (x >> 16) % 29; i++)
            strbuf_putc(&rows, 'a');
        strbuf_putc(&rows, '\n');
    }
    Built b;
    build(&b, "many.txt", rows.data, (WindowOptions){.context = 32, .bos_id = -1});
    for (size_t target = 1; target < b.w.n_ids + 20; target += 3)
        check_partition(&b.w, target);
    finish(&b);
    strbuf_free(&rows);
}

static void protocol_names(void)
{
    WindowProtocol p = WINDOW_FILE;
    CHECK(window_protocol_from_name("rows", &p) && p == WINDOW_ROWS && !window_protocol_from_name("all", &p));
    CHECK(window_protocol_from_name("concat", &p) && p == WINDOW_CONCAT && !window_protocol_from_name("", &p));
    CHECK_STR(window_protocol_name(WINDOW_FILE), "file");
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    tokenizer = byte_tokenizer_open(folder);
    if (tokenizer) {
        RUN(rows_without_bos);
        RUN(rows_with_bos);
        RUN(one_text);
        RUN(rows_of_ids);
        RUN(articles_are_units);
        RUN(hashes);
        RUN(refuses);
        RUN(partitions);
        RUN(protocol_names);
    }
    tokenizer_close(tokenizer);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) || !tokenizer ? 1 : test_finish();
}
