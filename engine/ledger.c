/* ledger.c: writing the ledger in place, block by block, so that a kill at any moment loses at most the block at hand.
 *
 * ledger.safetensors.part has its final size and header from the start; a block's values go to their final offsets by pwrite.
 * ledger.journal: a first line "strata-ledger 1 FINGERPRINT N_ORDERS N_TOKENS N_BLOCKS", then "done K" for every block, in order, each
 * written after an fsync of the data. A line without its newline was torn and does not count. */
#include "engine/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "loaders/safetensors.h"

enum {
    ENTRY_BYTE_START,
    ENTRY_BYTE_END,
    ENTRY_NLL,
    ENTRY_RANK,
    ENTRY_TOP1,
    ENTRY_KL,
    ENTRY_WORD_START,
    ENTRY_TOKEN_ID,
    ENTRY_ROW,
    ENTRY_WINDOW,
    ENTRY_POSITION,
    N_ENTRIES
};

struct Ledger {
    char *dir, *part, *final, *journal;
    int fd, journal_fd;
    LedgerShape shape;
    size_t *block_start; /* [n_blocks + 1]: first token */
    SafetensorsEntry entries[N_ENTRIES];
    void *scratch; /* one block of one order, narrowed */
    bool finished;
};

static size_t total_blocks(const LedgerShape *s)
{
    return s->n_blocks * (s->n_stages ? s->n_stages : 1);
}

static void set_entries(Ledger *l)
{
    size_t o = l->shape.n_orders, t = l->shape.n_tokens;
    static const char *const names[N_ENTRIES] = {"byte_start",      "byte_end", "nll", "rank",   "top1",    "kl",
                                                 "word_start_logp", "token_id", "row", "window", "position"};
    static const DType dtypes[N_ENTRIES] = {DTYPE_I64, DTYPE_I64, DTYPE_F32, DTYPE_I32, DTYPE_I32, DTYPE_F32,
                                            DTYPE_F32, DTYPE_I32, DTYPE_I32, DTYPE_I32, DTYPE_I32};
    for (int i = 0; i < N_ENTRIES; i++) {
        bool by_order = i == ENTRY_NLL || (i >= ENTRY_RANK && i <= ENTRY_WORD_START);
        l->entries[i] = (SafetensorsEntry){
            .name = names[i], .dtype = i == ENTRY_NLL ? l->shape.nll_dtype : dtypes[i], .n_dims = by_order ? 2 : 1};
        l->entries[i].shape[0] = by_order ? o : t;
        l->entries[i].shape[1] = by_order ? t : 0;
    }
}

static int write_all(Ledger *l, const void *data, size_t bytes, size_t offset, Error *e)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pwrite(l->fd, (const char *)data + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(e, STATUS_FAILED, "%s: cannot write: %s", l->part, strerror(n ? errno : ENOSPC));
        done += (size_t)n;
    }
    return STATUS_OK;
}

static int write_journal(Ledger *l, const char *line, Error *e)
{
    size_t len = strlen(line);
    ssize_t n = write(l->journal_fd, line, len);
    if (n != (ssize_t)len || fsync(l->journal_fd))
        return error_set(e, STATUS_FAILED, "%s: cannot write: %s", l->journal,
                         strerror(n < 0 || n == (ssize_t)len ? errno : ENOSPC));
    return STATUS_OK;
}

static void journal_head(const Ledger *l, StrBuf *out)
{
    strbuf_printf(out, "strata-ledger 1 %s %zu %zu %zu\n", l->shape.fingerprint, l->shape.n_orders, l->shape.n_tokens,
                  total_blocks(&l->shape));
}

/* Counts the blocks a journal says are done; *keep is its length up to the last whole, right line. */
static int read_journal(Ledger *l, size_t *n_done, size_t *keep, bool *there, Error *e)
{
    StrBuf text = {0}, head = {0};
    *n_done = *keep = 0;
    *there = file_exists(l->journal) && file_exists(l->part);
    int status = *there ? file_read(l->journal, (size_t)1 << 30, &text, e) : STATUS_OK;
    journal_head(l, &head);
    if (!status && (head.failed || text.failed))
        status = error_set(e, STATUS_FAILED, "%s: out of memory", l->journal);
    const char *end = text.data ? memchr(text.data, '\n', text.len) : NULL;
    if (!status && *there && !end)
        *there = false; /* killed before the first line was whole: nothing was done */
    if (!status && *there && (text.len < head.len || memcmp(text.data, head.data, head.len) != 0))
        status =
            error_set(e, STATUS_USAGE, "%s: belongs to another run: expected \"%.*s\", found \"%.*s\"; --force starts over",
                      l->journal, (int)head.len - 1, head.data, (int)(end - text.data), text.data);
    if (!status && *there) {
        *keep = head.len;
        while (*keep < text.len) {
            char line[48];
            int n = snprintf(line, sizeof line, "done %zu\n", *n_done);
            if (text.len - *keep < (size_t)n || memcmp(text.data + *keep, line, (size_t)n) != 0)
                break;
            *keep += (size_t)n;
            ++*n_done;
        }
        if (*n_done > total_blocks(&l->shape))
            *n_done = total_blocks(&l->shape);
    }
    strbuf_free(&text);
    strbuf_free(&head);
    return status;
}

static int reserve(Ledger *l, size_t bytes, Error *e)
{
    int failure = posix_fallocate(l->fd, 0, (off_t)bytes);
    if (failure == EOPNOTSUPP || failure == EINVAL) /* a file system without reservation */
        failure = ftruncate(l->fd, (off_t)bytes) ? errno : 0;
    if (failure)
        return error_set(e, STATUS_FAILED, "%s: cannot reserve %zu bytes: %s", l->part, bytes, strerror(failure));
    return STATUS_OK;
}

static int write_tokens(Ledger *l, const LedgerTokens *t, Error *e)
{
    const struct {
        int entry;
        const void *data;
    } arrays[] = {{ENTRY_TOKEN_ID, t->token_id},     {ENTRY_ROW, t->row},
                  {ENTRY_WINDOW, t->window},         {ENTRY_POSITION, t->position},
                  {ENTRY_BYTE_START, t->byte_start}, {ENTRY_BYTE_END, t->byte_end}};
    int status = STATUS_OK;
    for (size_t i = 0; !status && i < sizeof arrays / sizeof arrays[0]; i++)
        status = write_all(l, arrays[i].data, l->entries[arrays[i].entry].size_bytes, l->entries[arrays[i].entry].offset, e);
    return status;
}

/* A new part file: header, token columns, everything reserved; the journal's head comes last. */
static int start_anew(Ledger *l, const StrBuf *header, size_t bytes, const LedgerTokens *tokens, Error *e)
{
    unlink(l->journal);
    l->fd = open(l->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (l->fd < 0)
        return error_set(e, STATUS_FAILED, "%s: cannot create: %s", l->part, strerror(errno));
    int status = reserve(l, bytes, e);
    if (!status)
        status = write_all(l, header->data, header->len, 0, e);
    if (!status)
        status = write_tokens(l, tokens, e);
    if (!status && fsync(l->fd))
        status = error_set(e, STATUS_FAILED, "%s: cannot write: %s", l->part, strerror(errno));
    if (status) {
        unlink(l->part);
        return status;
    }
    l->journal_fd = open(l->journal, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    if (l->journal_fd < 0)
        return error_set(e, STATUS_FAILED, "%s: cannot create: %s", l->journal, strerror(errno));
    StrBuf head = {0};
    journal_head(l, &head);
    status = head.failed ? error_set(e, STATUS_FAILED, "%s: out of memory", l->journal) : write_journal(l, head.data, e);
    strbuf_free(&head);
    return status ? status : file_sync_dir(l->dir, e);
}

static int reopen(Ledger *l, size_t bytes, size_t keep, Error *e)
{
    struct stat st;
    l->fd = open(l->part, O_RDWR | O_CLOEXEC);
    if (l->fd < 0 || fstat(l->fd, &st))
        return error_set(e, STATUS_FAILED, "%s: cannot open: %s", l->part, strerror(errno));
    if ((size_t)st.st_size != bytes)
        return error_set(e, STATUS_FAILED, "%s: %zu bytes, expected %zu; --force starts over", l->part, (size_t)st.st_size,
                         bytes);
    l->journal_fd = open(l->journal, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (l->journal_fd < 0 || ftruncate(l->journal_fd, (off_t)keep))
        return error_set(e, STATUS_FAILED, "%s: cannot open: %s", l->journal, strerror(errno));
    return STATUS_OK;
}

static bool is_finished(const Ledger *l)
{
    LedgerView v;
    Error ignored;
    if (!file_exists(l->final) || ledger_view_open(l->final, &v, &ignored))
        return false;
    bool same = v.fingerprint && strcmp(v.fingerprint, l->shape.fingerprint) == 0 && v.n_orders == l->shape.n_orders &&
                v.n_tokens == l->shape.n_tokens;
    ledger_view_close(&v);
    return same;
}

static int build_header(Ledger *l, StrBuf *header, size_t *bytes, Error *e)
{
    const char *const metadata[][2] = {{"format", "strata.ledger/1"}, {"fingerprint", l->shape.fingerprint}};
    set_entries(l);
    return safetensors_header(l->entries, N_ENTRIES, metadata, 2, header, bytes, e);
}

static int open_paths(Ledger *l, const char *dir, const LedgerShape *shape, Error *e)
{
    size_t most = 0;
    l->dir = strdup(dir);
    l->final = file_join(dir, "ledger.safetensors");
    l->part = file_join(dir, "ledger.safetensors.part");
    l->journal = file_join(dir, "ledger.journal");
    l->shape = *shape;
    l->shape.fingerprint = strdup(shape->fingerprint);
    l->block_start = calloc(shape->n_blocks + 1, sizeof *l->block_start);
    if (!l->dir || !l->final || !l->part || !l->journal || !l->shape.fingerprint || !l->block_start)
        return error_set(e, STATUS_FAILED, "%s: out of memory", dir);
    for (size_t b = 0; b < shape->n_blocks; b++) {
        l->block_start[b + 1] = l->block_start[b] + shape->block_tokens[b];
        most = shape->block_tokens[b] > most ? shape->block_tokens[b] : most;
    }
    if (l->block_start[shape->n_blocks] != shape->n_tokens)
        return error_set(e, STATUS_FAILED, "%s: blocks of %zu tokens, expected %zu", dir, l->block_start[shape->n_blocks],
                         shape->n_tokens);
    l->scratch = malloc(most * sizeof(double) + 1);
    return l->scratch ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: out of memory for a block of %zu tokens", dir, most);
}

int ledger_open(const char *dir, const LedgerShape *shape, const LedgerTokens *tokens, Ledger **out, size_t *first_block,
                Error *e)
{
    StrBuf header = {0};
    size_t bytes = 0, keep;
    bool there;
    Ledger *l = calloc(1, sizeof *l);
    if (!l)
        return error_set(e, STATUS_FAILED, "%s: out of memory", dir);
    l->fd = l->journal_fd = -1;
    int status = open_paths(l, dir, shape, e);
    if (!status)
        status = build_header(l, &header, &bytes, e);
    if (status)
        goto done;
    if (is_finished(l)) {
        l->finished = true;
        *first_block = total_blocks(shape);
        goto done;
    }
    if ((status = read_journal(l, first_block, &keep, &there, e)))
        goto done;
    status = there ? reopen(l, bytes, keep, e) : start_anew(l, &header, bytes, tokens, e);
done:
    strbuf_free(&header);
    if (status)
        ledger_close(l);
    else
        *out = l;
    return status;
}

static int write_column(Ledger *l, int entry, size_t order, size_t first, size_t n, const void *data, Error *e)
{
    const SafetensorsEntry *x = &l->entries[entry];
    size_t elem = dtype_block_bytes(x->dtype);
    return write_all(l, data, n * elem, x->offset + (order * l->shape.n_tokens + first) * elem, e);
}

static int write_narrowed(Ledger *l, int entry, size_t order, size_t first, size_t n, const double *values, Error *e)
{
    if (l->entries[entry].dtype == DTYPE_F64)
        return write_column(l, entry, order, first, n, values, e);
    float *narrow = l->scratch;
    for (size_t i = 0; i < n; i++)
        narrow[i] = (float)values[i];
    return write_column(l, entry, order, first, n, narrow, e);
}

int ledger_write(Ledger *l, size_t block, size_t order, const LedgerBlock *v, Error *e)
{
    size_t b = block % l->shape.n_blocks, first = l->block_start[b], n = l->block_start[b + 1] - first;
    int status = write_narrowed(l, ENTRY_NLL, order, first, n, v->nll, e);
    if (!status)
        status = write_narrowed(l, ENTRY_KL, order, first, n, v->kl, e);
    if (!status)
        status = write_narrowed(l, ENTRY_WORD_START, order, first, n, v->word_start_logp, e);
    if (!status)
        status = write_column(l, ENTRY_RANK, order, first, n, v->rank, e);
    if (!status)
        status = write_column(l, ENTRY_TOP1, order, first, n, v->top1, e);
    return status;
}

int ledger_commit(Ledger *l, size_t block, Error *e)
{
    char line[48];
    if (fdatasync(l->fd))
        return error_set(e, STATUS_FAILED, "%s: cannot write: %s", l->part, strerror(errno));
    snprintf(line, sizeof line, "done %zu\n", block);
    return write_journal(l, line, e);
}

int ledger_finish(Ledger *l, Error *e)
{
    if (l->finished)
        return STATUS_OK;
    if (fsync(l->fd) || rename(l->part, l->final))
        return error_set(e, STATUS_FAILED, "%s: cannot finish: %s", l->final, strerror(errno));
    int status = file_sync_dir(l->dir, e);
    if (!status)
        unlink(l->journal);
    l->finished = !status;
    return status;
}

void ledger_close(Ledger *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    if (l->journal_fd >= 0)
        close(l->journal_fd);
    free(l->dir);
    free(l->part);
    free(l->final);
    free(l->journal);
    free((char *)l->shape.fingerprint);
    free(l->block_start);
    free(l->scratch);
    free(l);
}
