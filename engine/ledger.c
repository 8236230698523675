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
#include "engine/ledger_internal.h"

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

const char ledger_no_digest[LEDGER_DIGEST_LEN + 1] = "0000000000000000000000000000000000000000000000000000000000000000";

int ledger_failed(Error *e, const char *path, const char *action)
{
    return error_set(e, STATUS_FAILED, "%s: cannot %s: %s", path, action, strerror(errno));
}

int ledger_write_at(const Ledger *l, const void *data, size_t bytes, size_t offset, Error *e)
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

bool ledger_read_at(int fd, void *data, size_t bytes, size_t offset)
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

int ledger_sync_data(const Ledger *l, Error *e)
{
    if (fsync(l->fd) == 0)
        return STATUS_OK;
    return error_set(e, STATUS_FAILED, "%s: cannot write to disk: %s; %zu of %zu blocks are kept", l->part, strerror(errno),
                     l->next_block, l->n_total);
}

size_t ledger_offset_of(const Ledger *l, int a, size_t order, size_t block)
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

void ledger_block_line(const Ledger *l, StrBuf *out)
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
        metadata[2 + a][1] = ledger_no_digest;
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

char *ledger_find_digest(char *header, size_t len, int a)
{
    char key[LEDGER_DIGEST_KEY + 8];
    int n = snprintf(key, sizeof key, "\"" LEDGER_DIGEST "%s\":\"", ledger_layout[a].name);
    char *at = memmem(header, len, key, (size_t)n);
    return at && (size_t)(header + len - at) > (size_t)n + LEDGER_DIGEST_LEN ? at + n : NULL;
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
        status = ledger_check_finished(l, shape->fingerprint, &l->finished, e);
    if (!status && l->finished)
        l->next_block = l->n_total;
    if (!status && !l->finished)
        status = ledger_open_part(l, e);
    if (!status && !l->finished)
        status = ledger_resume(l, shape->fingerprint, tokens, e);
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
        int status = ledger_write_at(l, l->row, bytes, ledger_offset_of(l, a, order, block), e);
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
    int status = ledger_sync_data(l, e);
    if (status)
        return status;
    StrBuf line = {0};
    ledger_block_line(l, &line);
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
        char hex[LEDGER_DIGEST_LEN + 1];
        sha256_begin(&sha);
        for (size_t at = 0, n; !status && at < l->entries[a].size_bytes; at += n) {
            n = l->entries[a].size_bytes - at < CHUNK ? l->entries[a].size_bytes - at : CHUNK;
            if (!ledger_read_at(l->fd, chunk, n, l->entries[a].offset + at))
                status = error_set(e, STATUS_FAILED, "%s: cannot read back %zu bytes of %s", l->part, n, ledger_layout[a].name);
            sha256_update(&sha, chunk, n);
        }
        sha256_end(&sha, hex);
        char *digest = ledger_find_digest(header, l->header.len, a);
        if (digest)
            memcpy(digest, hex, LEDGER_DIGEST_LEN);
    }
    if (!status)
        status = ledger_write_at(l, header, l->header.len, 0, e);
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
            status = ledger_sync_data(l, e);
        if (!status && rename(l->part, l->file) != 0)
            status = ledger_failed(e, l->part, "rename to " LEDGER_FILE);
        if (!status)
            status = file_sync_dir(l->dir, e);
        l->finished = !status;
    }
    /* Killed before this line, the next ledger_finish removes the journal: a finished file counts without it. */
    if (!status && unlink(l->journal) != 0 && errno != ENOENT)
        status = ledger_failed(e, l->journal, "remove");
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
