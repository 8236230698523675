/* ledger.c: writing ledger.safetensors in place, block by block, so that a process killed at any moment loses at most the block it
 * was working on.
 *
 * ledger.journal is text: "strata.ledger/1 FINGERPRINT\n", then one line "block N CRC ORDERS\n" per complete block, N ascending from
 * 0. ORDERS are the orders that were written ("0-30", or "0,31-60" in a later stage of a greedy sweep). CRC, in eight hexadecimal
 * digits, is the CRC-32 over these orders' CRC-32s (four little-endian bytes each, ascending), an order's being that of its
 * bytes of nll, kl, word_start_logp, rank, top1 one after another. The line is written when the block's data are on disk. Reopening
 * trusts no line whose data do not have that CRC (a disk may lie about what it has written): the ledger goes on at the first such
 * block. The journal appears only when header, token arrays and reserved space are on disk; a part file without a journal is
 * begun anew. A lock on the part file keeps a second process out.
 *
 * The file is little-endian, as the machines are that this is built for. Reading is ledger_view.c's. */
#include "engine/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "engine/base/checked.h"
#include "engine/base/file.h"
#include "engine/base/sha256.h"
#include "engine/ledger_layout.h"
#include "loaders/safetensors.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian: this code writes arrays as they lie in memory"
#endif

const LedgerArray ledger_layout[LEDGER_N_ARRAYS] = {
    [LEDGER_BYTE_START] = {"byte_start", DTYPE_I64, false},
    [LEDGER_BYTE_END] = {"byte_end", DTYPE_I64, false},
    [LEDGER_NLL] = {"nll", DTYPE_NONE, true},
    [LEDGER_KL] = {"kl", DTYPE_F32, true},
    [LEDGER_WORD_START_LOGP] = {"word_start_logp", DTYPE_F32, true},
    [LEDGER_RANK] = {"rank", DTYPE_I32, true},
    [LEDGER_TOP1] = {"top1", DTYPE_I32, true},
    [LEDGER_TOKEN_ID] = {"token_id", DTYPE_I32, false},
    [LEDGER_ROW] = {"row", DTYPE_I32, false},
    [LEDGER_WINDOW] = {"window", DTYPE_I32, false},
    [LEDGER_POSITION] = {"position", DTYPE_I32, false},
};

struct Ledger {
    char *dir, *file, *part, *journal; /* paths */
    int fd, journal_fd;                /* -1: closed */
    size_t n_orders, n_tokens;
    size_t n_blocks, n_stages, n_total; /* n_total = n_blocks * n_stages: how far blocks are counted */
    size_t *block_start;                /* [n_blocks + 1], in tokens */
    SafetensorsEntry entries[LEDGER_N_ARRAYS];
    StrBuf header; /* of the ledger file: length, JSON, padding */
    StrBuf stamp;  /* first line of the journal */
    size_t total_bytes;
    size_t next_block;
    off_t journal_bytes;
    uint32_t *order_crc; /* [n_orders], of the block at hand */
    bool *order_written; /* [n_orders] */
    unsigned char *row;  /* one array of one order on the longest block */
    bool finished;       /* ledger.safetensors is there already */
};

enum { DIGEST_LEN = 64 };
static const char no_digest[DIGEST_LEN + 1] = "0000000000000000000000000000000000000000000000000000000000000000";

static int failed(Error *e, const char *path, const char *action)
{
    return error_set(e, STATUS_FAILED, "%s: cannot %s: %s", path, action, strerror(errno));
}

static int write_at(const Ledger *l, const void *data, size_t bytes, size_t offset, Error *e)
{
    const unsigned char *p = data;
    while (bytes) {
        ssize_t n = pwrite(l->fd, p, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(
                e, STATUS_FAILED,
                "%s: cannot write %zu bytes at offset %zu: %s; %zu of %zu blocks are kept, the same command goes on "
                "from there",
                l->part, bytes, offset, n < 0 ? strerror(errno) : "no progress", l->next_block, l->n_total);
        p += n;
        offset += (size_t)n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

/* False when the file is shorter or cannot be read: for the caller both mean that the data are not there. */
static bool read_at(int fd, void *data, size_t bytes, size_t offset)
{
    unsigned char *p = data;
    while (bytes) {
        ssize_t n = pread(fd, p, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        offset += (size_t)n;
        bytes -= (size_t)n;
    }
    return true;
}

static int sync_data(const Ledger *l, Error *e)
{
    if (fsync(l->fd) == 0)
        return STATUS_OK;
    return error_set(e, STATUS_FAILED, "%s: cannot write to disk: %s; %zu of %zu blocks are kept", l->part, strerror(errno),
                     l->next_block, l->n_total);
}

/* Where the values of one order in one block lie in array a. */
static size_t offset_of(const Ledger *l, int a, size_t order, size_t block)
{
    return l->entries[a].offset +
           (order * l->n_tokens + l->block_start[block % l->n_blocks]) * dtype_block_bytes(l->entries[a].dtype);
}

/* The CRC of the block at hand: of the orders that are marked as written. */
static uint32_t block_crc(const Ledger *l)
{
    uLong crc = crc32(0, NULL, 0);
    for (size_t o = 0; o < l->n_orders; o++)
        if (l->order_written[o])
            crc = crc32_z(crc, (const Bytef *)&l->order_crc[o], sizeof l->order_crc[o]);
    return (uint32_t)crc;
}

/* The journal's line of the block at hand. */
static void block_line(const Ledger *l, StrBuf *out)
{
    strbuf_printf(out, "block %zu %08x ", l->next_block, block_crc(l));
    const char *comma = "";
    for (size_t o = 0; o < l->n_orders; o++) {
        if (!l->order_written[o])
            continue;
        size_t last = o;
        while (last + 1 < l->n_orders && l->order_written[last + 1])
            last++;
        strbuf_printf(out, last > o ? "%s%zu-%zu" : "%s%zu", comma, o, last);
        comma = ",";
        o = last;
    }
    strbuf_putc(out, '\n');
}

/* Marks the orders that a journal's line lists ("0,31-60", up to its newline); false when it lists none or something else. */
static bool mark_orders(Ledger *l, const char *list)
{
    memset(l->order_written, 0, l->n_orders * sizeof *l->order_written);
    for (;; list++) {
        char *end;
        unsigned long long first = strtoull(list, &end, 10), last = first;
        if (end != list && *end == '-') {
            list = end + 1;
            last = strtoull(list, &end, 10);
        }
        if (end == list || first > last || last >= l->n_orders)
            return false;
        for (unsigned long long o = first; o <= last; o++)
            l->order_written[o] = true;
        if (*end == '\n')
            return true;
        if (*end != ',')
            return false;
        list = end;
    }
}

/* The CRCs of the marked orders of a block as they lie in the file; false when they cannot be read. */
static bool read_crcs(Ledger *l, size_t block)
{
    size_t n = l->block_start[block % l->n_blocks + 1] - l->block_start[block % l->n_blocks];
    for (size_t o = 0; o < l->n_orders; o++) {
        uLong crc = crc32(0, NULL, 0);
        for (int a = LEDGER_NLL; l->order_written[o] && a <= LEDGER_TOP1; a++) {
            size_t bytes = n * dtype_block_bytes(l->entries[a].dtype);
            if (!read_at(l->fd, l->row, bytes, offset_of(l, a, o, block)))
                return false;
            crc = crc32_z(crc, l->row, bytes);
        }
        l->order_crc[o] = (uint32_t)crc;
    }
    return true;
}

/* Sizes and layout from the shape; nothing on disk is touched. */
static int prepare(Ledger *l, const char *dir, const LedgerShape *shape, Error *e)
{
    l->dir = strdup(dir);
    l->file = file_join(dir, LEDGER_FILE);
    l->part = file_join(dir, LEDGER_PART);
    l->journal = file_join(dir, LEDGER_JOURNAL);
    l->n_orders = shape->n_orders;
    l->n_tokens = shape->n_tokens;
    l->n_blocks = shape->n_blocks;
    l->n_stages = shape->n_stages ? shape->n_stages : 1;
    if (l->n_blocks < SIZE_MAX / sizeof *l->block_start)
        l->block_start = calloc(l->n_blocks + 1, sizeof *l->block_start);
    l->order_crc = calloc(l->n_orders ? l->n_orders : 1, sizeof *l->order_crc);
    l->order_written = calloc(l->n_orders ? l->n_orders : 1, sizeof *l->order_written);
    if (!l->dir || !l->file || !l->part || !l->journal || !l->block_start || !l->order_crc || !l->order_written)
        return error_set(e, STATUS_FAILED, "%s: out of memory for a ledger of %zu blocks", dir, l->n_blocks);
    if (!checked_mul(l->n_blocks, l->n_stages, &l->n_total))
        return error_set(e, STATUS_FAILED, "%s: %zu stages of %zu blocks are too many", l->file, l->n_stages, l->n_blocks);
    if ((shape->nll_dtype != DTYPE_F32 && shape->nll_dtype != DTYPE_F64) || strpbrk(shape->fingerprint, "\r\n"))
        return error_set(e, STATUS_FAILED, "%s: a ledger takes nll of F32 or F64 and a fingerprint of one line", l->file);
    size_t longest = 0;
    for (size_t b = 0; b < l->n_blocks; b++) {
        size_t n = shape->block_tokens[b];
        if (n > l->n_tokens - l->block_start[b])
            return error_set(e, STATUS_FAILED, "%s: the blocks hold more than the %zu tokens of the ledger", l->file,
                             l->n_tokens);
        l->block_start[b + 1] = l->block_start[b] + n;
        longest = n > longest ? n : longest;
    }
    if (l->block_start[l->n_blocks] != l->n_tokens)
        return error_set(e, STATUS_FAILED, "%s: the blocks hold %zu tokens, expected %zu", l->file, l->block_start[l->n_blocks],
                         l->n_tokens);
    for (int a = 0; a < LEDGER_N_ARRAYS; a++) {
        SafetensorsEntry *t = &l->entries[a];
        t->name = ledger_layout[a].name;
        t->dtype = ledger_layout[a].dtype == DTYPE_NONE ? shape->nll_dtype : ledger_layout[a].dtype;
        if (ledger_layout[a].per_order)
            t->shape[t->n_dims++] = l->n_orders;
        t->shape[t->n_dims++] = l->n_tokens;
    }
    const char *metadata[2 + LEDGER_N_ARRAYS][2] = {{"format", LEDGER_SCHEMA}, {"fingerprint", shape->fingerprint}};
    char keys[LEDGER_N_ARRAYS][LEDGER_DIGEST_KEY];
    for (int a = 0; a < LEDGER_N_ARRAYS; a++) {
        snprintf(keys[a], sizeof keys[a], LEDGER_DIGEST "%s", ledger_layout[a].name);
        metadata[2 + a][0] = keys[a];
        metadata[2 + a][1] = no_digest;
    }
    int status = safetensors_header(l->entries, LEDGER_N_ARRAYS, (const char *const(*)[2])metadata, 2 + LEDGER_N_ARRAYS,
                                    &l->header, &l->total_bytes, e);
    if (status)
        return error_prefix(e, status, "%s", l->file);
    strbuf_printf(&l->stamp, "%s %s\n", LEDGER_SCHEMA, shape->fingerprint);
    l->row = longest < SIZE_MAX / 8 ? malloc(longest ? longest * 8 : 1) : NULL;
    if (l->stamp.failed || !l->row)
        return error_set(e, STATUS_FAILED, "%s: out of memory for blocks of %zu tokens", l->file, longest);
    if (l->total_bytes > (size_t)INT64_MAX)
        return error_set(e, STATUS_FAILED, "%s: %zu bytes are more than a file can hold", l->file, l->total_bytes);
    return STATUS_OK;
}

/* One "key=value" of a list separated by ';', or the end of it. */
static const char *pair_end(const char *s)
{
    return s + strcspn(s, ";");
}

/* The pair with the key of pair `of` (length key_len, '=' included), or NULL. */
static const char *find_pair(const char *list, const char *of, size_t key_len)
{
    for (const char *s = list; *s; s = *pair_end(s) ? pair_end(s) + 1 : pair_end(s))
        if (strncmp(s, of, key_len) == 0)
            return s;
    return NULL;
}

static int refuse(const char *path, const char *theirs, const char *ours, Error *e)
{
    for (const char *s = ours; *s; s = *pair_end(s) ? pair_end(s) + 1 : pair_end(s)) {
        const char *end = pair_end(s), *equals = memchr(s, '=', (size_t)(end - s));
        if (!equals)
            break;
        const char *before = find_pair(theirs, s, (size_t)(equals - s) + 1);
        const char *was = before ? before + (equals - s) + 1 : "";
        int was_len = (int)(pair_end(was) - was), is_len = (int)(end - equals - 1), key_len = (int)(equals - s);
        if (before && was_len == is_len && memcmp(was, equals + 1, (size_t)is_len) == 0)
            continue;
        return error_set(e, STATUS_USAGE, "%s: belongs to another run: %.*s: expected %.*s, found %s%.*s; --force starts over",
                         path, key_len, s, is_len, equals + 1, before ? "" : "none", was_len, was);
    }
    return error_set(e, STATUS_USAGE,
                     "%s: belongs to another run: fingerprint: expected %.200s, found %.200s; --force starts over", path, ours,
                     theirs);
}

/* Where the digest of array a stands in a header; its length never changes. A quote inside another value is escaped: no text of a
 * fingerprint looks like the key. */
static char *find_digest(char *header, size_t len, int a)
{
    char key[LEDGER_DIGEST_KEY + 8];
    int n = snprintf(key, sizeof key, "\"" LEDGER_DIGEST "%s\":\"", ledger_layout[a].name);
    char *at = memmem(header, len, key, (size_t)n);
    return at && (size_t)(header + len - at) > (size_t)n + DIGEST_LEN ? at + n : NULL;
}

/* Is this the header of this run, whatever digests it holds? A ledger that was killed between its digests and its new name has them. */
static bool same_header(const Ledger *l, const void *found)
{
    char *copy = malloc(l->header.len);
    if (!copy)
        return false;
    memcpy(copy, found, l->header.len);
    for (int a = 0; a < LEDGER_N_ARRAYS; a++) {
        char *digest = find_digest(copy, l->header.len, a);
        if (digest)
            memcpy(digest, no_digest, DIGEST_LEN);
    }
    bool same = memcmp(copy, l->header.data, l->header.len) == 0;
    free(copy);
    return same;
}

/* A finished ledger: *there, or refused when it is of another run or shape. */
static int check_finished(Ledger *l, const char *fingerprint, bool *there, Error *e)
{
    LedgerView view;
    *there = false;
    if (access(l->file, F_OK) != 0)
        return errno == ENOENT ? STATUS_OK : failed(e, l->file, "look at");
    int status = ledger_view_open(l->file, &view, e);
    if (status)
        return status;
    if (strcmp(view.fingerprint, fingerprint) != 0)
        status = refuse(l->file, view.fingerprint, fingerprint, e);
    else if (view.map_bytes != l->total_bytes || !same_header(l, view.map))
        status = error_set(e, STATUS_USAGE, "%s: expected %zu orders of %zu tokens (%s), found %zu orders of %zu tokens (%s)",
                           l->file, l->n_orders, l->n_tokens, dtype_name(l->entries[LEDGER_NLL].dtype), view.n_orders,
                           view.n_tokens, dtype_name(view.nll_dtype));
    ledger_view_close(&view);
    *there = !status;
    return status;
}

static int open_part(Ledger *l, Error *e)
{
    l->fd = open(l->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (l->fd < 0)
        return failed(e, l->part, "create");
    if (flock(l->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return error_set(e, STATUS_FAILED, "%s: another process is writing it", l->part);
    return STATUS_OK;
}

/* Space for the whole file; a file system without reservations gets a file with holes. */
static int reserve(const Ledger *l, Error *e)
{
    int code;
    do
        code = posix_fallocate(l->fd, 0, (off_t)l->total_bytes);
    while (code == EINTR);
    if (code == EOPNOTSUPP || code == EINVAL || code == ENOSYS) {
        if (ftruncate(l->fd, (off_t)l->total_bytes) == 0)
            return STATUS_OK;
        code = errno;
    }
    if (code)
        return error_set(e, STATUS_FAILED, "%s: cannot reserve %zu bytes: %s", l->part, l->total_bytes, strerror(code));
    return STATUS_OK;
}

static const void *token_array(const LedgerTokens *t, int a)
{
    switch (a) {
    case LEDGER_BYTE_START:
        return t->byte_start;
    case LEDGER_BYTE_END:
        return t->byte_end;
    case LEDGER_TOKEN_ID:
        return t->token_id;
    case LEDGER_ROW:
        return t->row;
    case LEDGER_WINDOW:
        return t->window;
    default:
        return t->position;
    }
}

static int begin_anew(Ledger *l, const LedgerTokens *tokens, Error *e)
{
    if (ftruncate(l->fd, 0) != 0)
        return failed(e, l->part, "truncate");
    int status = reserve(l, e);
    if (!status)
        status = write_at(l, l->header.data, l->header.len, 0, e);
    for (int a = 0; !status && a < LEDGER_N_ARRAYS; a++)
        if (!ledger_layout[a].per_order && l->n_tokens)
            status = write_at(l, token_array(tokens, a), l->entries[a].size_bytes, l->entries[a].offset, e);
    if (!status)
        status = sync_data(l, e);
    if (!status)
        status = file_write_atomic(l->journal, l->stamp.data, l->stamp.len, e);
    if (status) /* nothing was computed yet: the space is given back */
        unlink(l->part);
    else
        l->journal_bytes = (off_t)l->stamp.len;
    return status;
}

/* The tokens and the header in the file are those of this run. */
static bool same_content(const Ledger *l, const LedgerTokens *tokens)
{
    enum { CHUNK = 1 << 16 };
    unsigned char chunk[CHUNK];
    void *header = malloc(l->header.len);
    bool same = header && read_at(l->fd, header, l->header.len, 0) && same_header(l, header);
    free(header);
    for (int a = 0; same && a < LEDGER_N_ARRAYS; a++) {
        if (ledger_layout[a].per_order)
            continue;
        const unsigned char *expected = token_array(tokens, a);
        size_t bytes = l->entries[a].size_bytes, offset = l->entries[a].offset;
        for (size_t at = 0; at < bytes;) {
            size_t n = bytes - at < CHUNK ? bytes - at : CHUNK;
            if (!read_at(l->fd, chunk, n, offset + at) || memcmp(chunk, expected + at, n) != 0)
                return false;
            at += n;
        }
    }
    return same;
}

/* Counts the blocks that the journal names and whose data have the journal's CRC; cuts what follows. text: after the stamp. */
static int count_blocks(Ledger *l, const char *text, Error *e)
{
    StrBuf line = {0};
    for (l->next_block = 0; l->next_block < l->n_total; l->next_block++) {
        strbuf_reset(&line);
        strbuf_printf(&line, "block %zu %08x ", l->next_block, 0u); /* as long as the line up to its orders */
        if (line.failed || strnlen(text, line.len) < line.len || !mark_orders(l, text + line.len) ||
            !read_crcs(l, l->next_block))
            break;
        strbuf_reset(&line);
        block_line(l, &line);
        if (line.failed || strncmp(text, line.data, line.len) != 0)
            break;
        text += line.len;
        l->journal_bytes += (off_t)line.len;
    }
    bool no_memory = line.failed;
    strbuf_free(&line);
    if (no_memory)
        return error_set(e, STATUS_FAILED, "%s: out of memory", l->journal);
    memset(l->order_written, 0, l->n_orders * sizeof *l->order_written);
    l->journal_fd = open(l->journal, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (l->journal_fd < 0)
        return failed(e, l->journal, "open");
    if (ftruncate(l->journal_fd, l->journal_bytes) != 0)
        return failed(e, l->journal, "truncate");
    return STATUS_OK;
}

/* Goes on where the journal ends, or begins anew where there is none. */
static int resume(Ledger *l, const char *fingerprint, const LedgerTokens *tokens, Error *e)
{
    StrBuf text = {0};
    int status = STATUS_OK;
    const char *stamped = NULL, *rest = "";
    if (file_exists(l->journal))
        status = file_read(l->journal, SIZE_MAX / 2, &text, e);
    if (status)
        goto done;
    char *newline = text.len ? memchr(text.data, '\n', text.len) : NULL;
    size_t schema = strlen(LEDGER_SCHEMA " ");
    if (newline && strncmp(text.data, LEDGER_SCHEMA " ", schema) == 0) {
        *newline = '\0';
        stamped = text.data + schema;
        rest = newline + 1;
    }
    struct stat st;
    if (stamped && strcmp(stamped, fingerprint) != 0) {
        status = refuse(l->journal, stamped, fingerprint, e);
    } else if (!stamped) {
        status = begin_anew(l, tokens, e);
    } else if (fstat(l->fd, &st) != 0) {
        status = failed(e, l->part, "stat");
    } else if ((uintmax_t)st.st_size != l->total_bytes || !same_content(l, tokens)) {
        if (st.st_size == 0) /* the part file is gone: the journal speaks of nothing */
            status = begin_anew(l, tokens, e);
        else
            status = error_set(e, STATUS_USAGE,
                               "%s: its header or tokens are not those of this run: expected %zu orders of %zu tokens", l->part,
                               l->n_orders, l->n_tokens);
    } else {
        l->journal_bytes = (off_t)l->stamp.len;
    }
    if (!status)
        status = count_blocks(l, rest, e);
done:
    strbuf_free(&text);
    return status;
}

int ledger_bytes(const LedgerShape *shape, size_t *bytes, Error *e)
{
    Ledger *l = calloc(1, sizeof *l);
    if (!l)
        return error_set(e, STATUS_FAILED, "ledger: out of memory");
    l->fd = l->journal_fd = -1;
    int status = prepare(l, ".", shape, e);
    *bytes = l->total_bytes;
    ledger_close(l);
    return status;
}

int ledger_open(const char *dir, const LedgerShape *shape, const LedgerTokens *tokens, Ledger **out, size_t *first_block,
                Error *e)
{
    *out = NULL;
    *first_block = 0;
    Ledger *l = calloc(1, sizeof *l);
    if (!l)
        return error_set(e, STATUS_FAILED, "%s: out of memory", dir);
    l->fd = l->journal_fd = -1;
    int status = prepare(l, dir, shape, e);
    if (!status)
        status = check_finished(l, shape->fingerprint, &l->finished, e);
    if (!status && l->finished)
        l->next_block = l->n_total;
    if (!status && !l->finished)
        status = open_part(l, e);
    if (!status && !l->finished)
        status = resume(l, shape->fingerprint, tokens, e);
    if (status) {
        ledger_close(l);
        return status;
    }
    *out = l;
    *first_block = l->next_block;
    return STATUS_OK;
}

/* The values of array a for n tokens, as the file holds them, into l->row. */
static void convert(Ledger *l, int a, const LedgerBlock *v, size_t n)
{
    if (a == LEDGER_RANK || a == LEDGER_TOP1) {
        memcpy(l->row, a == LEDGER_RANK ? v->rank : v->top1, n * sizeof *v->rank);
        return;
    }
    const double *x = a == LEDGER_NLL ? v->nll : a == LEDGER_KL ? v->kl : v->word_start_logp;
    if (l->entries[a].dtype == DTYPE_F64) {
        memcpy(l->row, x, n * sizeof *x);
        return;
    }
    float *to = (float *)(void *)l->row;
    for (size_t i = 0; i < n; i++)
        to[i] = (float)x[i];
}

int ledger_write(Ledger *l, size_t block, size_t order, const LedgerBlock *values, Error *e)
{
    if (block != l->next_block || block >= l->n_total || order >= l->n_orders)
        return error_set(e, STATUS_FAILED, "%s: block %zu, order %zu written; expected block %zu of %zu and an order below %zu",
                         l->part, block, order, l->next_block, l->n_total, l->n_orders);
    size_t n = l->block_start[block % l->n_blocks + 1] - l->block_start[block % l->n_blocks];
    uLong crc = crc32(0, NULL, 0);
    l->order_written[order] = false;
    for (int a = LEDGER_NLL; n && a <= LEDGER_TOP1; a++) {
        size_t bytes = n * dtype_block_bytes(l->entries[a].dtype);
        convert(l, a, values, n);
        crc = crc32_z(crc, l->row, bytes);
        int status = write_at(l, l->row, bytes, offset_of(l, a, order, block), e);
        if (status)
            return status;
    }
    l->order_crc[order] = (uint32_t)crc;
    l->order_written[order] = true;
    return STATUS_OK;
}

int ledger_commit(Ledger *l, size_t block, Error *e)
{
    if (block != l->next_block || block >= l->n_total)
        return error_set(e, STATUS_FAILED, "%s: block %zu committed, expected block %zu of %zu", l->part, block, l->next_block,
                         l->n_total);
    bool any = false, all = true;
    for (size_t o = 0; o < l->n_orders; o++) {
        any = any || l->order_written[o];
        all = all && l->order_written[o];
    }
    if (!any || (l->n_stages == 1 && !all))
        return error_set(e, STATUS_FAILED, "%s: block %zu committed before all its orders were written", l->part, block);
    int status = sync_data(l, e);
    if (status)
        return status;
    StrBuf line = {0};
    block_line(l, &line);
    ssize_t n = -1;
    errno = ENOMEM;
    while (!line.failed && (n = pwrite(l->journal_fd, line.data, line.len, l->journal_bytes)) < 0 && errno == EINTR)
        ;
    if (line.failed || n != (ssize_t)line.len || fsync(l->journal_fd) != 0) {
        if (n >= 0 && n < (ssize_t)line.len)
            errno = ENOSPC;
        status =
            error_set(e, STATUS_FAILED,
                      "%s: cannot write the line of block %zu: %s; %zu of %zu blocks are kept, the same command goes on from "
                      "there",
                      l->journal, block, strerror(errno), l->next_block, l->n_total);
    } else {
        l->journal_bytes += (off_t)line.len;
        l->next_block++;
        memset(l->order_written, 0, l->n_orders * sizeof *l->order_written);
    }
    strbuf_free(&line);
    return status;
}

/* Digests of what lies on disk, into the header there. */
static int write_digests(Ledger *l, Error *e)
{
    enum { CHUNK = 1 << 16 };
    unsigned char chunk[CHUNK];
    char *header = malloc(l->header.len);
    if (!header)
        return error_set(e, STATUS_FAILED, "%s: out of memory for its header", l->part);
    memcpy(header, l->header.data, l->header.len);
    int status = STATUS_OK;
    for (int a = 0; !status && a < LEDGER_N_ARRAYS; a++) {
        Sha256 sha;
        char hex[DIGEST_LEN + 1];
        sha256_begin(&sha);
        for (size_t at = 0, n; !status && at < l->entries[a].size_bytes; at += n) {
            n = l->entries[a].size_bytes - at < CHUNK ? l->entries[a].size_bytes - at : CHUNK;
            if (!read_at(l->fd, chunk, n, l->entries[a].offset + at))
                status = error_set(e, STATUS_FAILED, "%s: cannot read back %zu bytes of %s", l->part, n, ledger_layout[a].name);
            sha256_update(&sha, chunk, n);
        }
        sha256_end(&sha, hex);
        char *digest = find_digest(header, l->header.len, a);
        if (digest)
            memcpy(digest, hex, DIGEST_LEN);
    }
    if (!status)
        status = write_at(l, header, l->header.len, 0, e);
    free(header);
    return status;
}

int ledger_finish(Ledger *l, Error *e)
{
    int status = STATUS_OK;
    if (l->next_block != l->n_total)
        return error_set(e, STATUS_FAILED, "%s: finished after %zu of %zu blocks", l->part, l->next_block, l->n_total);
    if (!l->finished) {
        status = write_digests(l, e);
        if (!status)
            status = sync_data(l, e);
        if (!status && rename(l->part, l->file) != 0)
            status = failed(e, l->part, "rename to " LEDGER_FILE);
        if (!status)
            status = file_sync_dir(l->dir, e);
        l->finished = !status;
    }
    /* Killed before this line, the next ledger_finish removes the journal: a finished file counts without it. */
    if (!status && unlink(l->journal) != 0 && errno != ENOENT)
        status = failed(e, l->journal, "remove");
    return status;
}

void ledger_close(Ledger *l)
{
    if (!l)
        return;
    if (l->journal_fd >= 0)
        close(l->journal_fd);
    if (l->fd >= 0)
        close(l->fd);
    strbuf_free(&l->header);
    strbuf_free(&l->stamp);
    free(l->row);
    free(l->order_written);
    free(l->order_crc);
    free(l->block_start);
    free(l->journal);
    free(l->part);
    free(l->file);
    free(l->dir);
    free(l);
}
