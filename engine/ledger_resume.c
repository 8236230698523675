/* ledger_resume.c: what is there of a ledger already, and going on with it (ledger.c says how the files are laid out). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "engine/base/file.h"
#include "engine/ledger_internal.h"

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
            if (!ledger_read_at(l->fd, l->row, bytes, ledger_offset_of(l, a, o, block)))
                return false;
            crc = crc32_z(crc, l->row, bytes);
        }
        l->order_crc[o] = (uint32_t)crc;
    }
    return true;
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

/* Is this the header of this run, whatever digests it holds? A ledger that was killed between its digests and its new name has them. */
static bool same_header(const Ledger *l, const void *found)
{
    char *copy = malloc(l->header.len);
    if (!copy)
        return false;
    memcpy(copy, found, l->header.len);
    for (int a = 0; a < LEDGER_N_ARRAYS; a++) {
        char *digest = ledger_find_digest(copy, l->header.len, a);
        if (digest)
            memcpy(digest, ledger_no_digest, LEDGER_DIGEST_LEN);
    }
    bool same = memcmp(copy, l->header.data, l->header.len) == 0;
    free(copy);
    return same;
}

/* A finished ledger: *there, or refused when it is of another run or shape. */
int ledger_check_finished(Ledger *l, const char *fingerprint, bool *there, Error *e)
{
    LedgerView view;
    *there = false;
    if (access(l->file, F_OK) != 0)
        return errno == ENOENT ? STATUS_OK : ledger_failed(e, l->file, "look at");
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

int ledger_open_part(Ledger *l, Error *e)
{
    l->fd = open(l->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (l->fd < 0)
        return ledger_failed(e, l->part, "create");
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
        return ledger_failed(e, l->part, "truncate");
    int status = reserve(l, e);
    if (!status)
        status = ledger_write_at(l, l->header.data, l->header.len, 0, e);
    for (int a = 0; !status && a < LEDGER_N_ARRAYS; a++)
        if (!ledger_layout[a].per_order && l->n_tokens)
            status = ledger_write_at(l, token_array(tokens, a), l->entries[a].size_bytes, l->entries[a].offset, e);
    if (!status)
        status = ledger_sync_data(l, e);
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
    bool same = header && ledger_read_at(l->fd, header, l->header.len, 0) && same_header(l, header);
    free(header);
    for (int a = 0; same && a < LEDGER_N_ARRAYS; a++) {
        if (ledger_layout[a].per_order)
            continue;
        const unsigned char *expected = token_array(tokens, a);
        size_t bytes = l->entries[a].size_bytes, offset = l->entries[a].offset;
        for (size_t at = 0; at < bytes;) {
            size_t n = bytes - at < CHUNK ? bytes - at : CHUNK;
            if (!ledger_read_at(l->fd, chunk, n, offset + at) || memcmp(chunk, expected + at, n) != 0)
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
        ledger_block_line(l, &line);
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
        return ledger_failed(e, l->journal, "open");
    if (ftruncate(l->journal_fd, l->journal_bytes) != 0)
        return ledger_failed(e, l->journal, "truncate");
    return STATUS_OK;
}

/* Goes on where the journal ends, or begins anew where there is none. */
int ledger_resume(Ledger *l, const char *fingerprint, const LedgerTokens *tokens, Error *e)
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
        status = ledger_failed(e, l->part, "stat");
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
