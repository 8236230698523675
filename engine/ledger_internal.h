/* ledger_internal.h: what writing a ledger (ledger.c) and going on with one (ledger_resume.c) share. */
#ifndef STRATA_ENGINE_LEDGER_INTERNAL_H
#define STRATA_ENGINE_LEDGER_INTERNAL_H

#include <sys/types.h>

#include "engine/base/strbuf.h"
#include "engine/ledger.h"
#include "engine/ledger_layout.h"
#include "loaders/safetensors.h"

enum { LEDGER_DIGEST_LEN = 64 };
extern const char ledger_no_digest[LEDGER_DIGEST_LEN + 1]; /* stands in a header until the ledger is finished */

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

int ledger_failed(Error *e, const char *path, const char *action); /* with errno's text */
int ledger_write_at(const Ledger *l, const void *data, size_t bytes, size_t offset, Error *e);
/* False when the file is shorter or cannot be read: for the caller both mean that the data are not there. */
bool ledger_read_at(int fd, void *data, size_t bytes, size_t offset);
int ledger_sync_data(const Ledger *l, Error *e);
/* Where the values of one order in one block lie in array a. */
size_t ledger_offset_of(const Ledger *l, int a, size_t order, size_t block);
/* The journal's line of the block at hand. */
void ledger_block_line(const Ledger *l, StrBuf *out);
/* Where the digest of array a stands in a header; its length never changes. A quote inside another value is escaped: no text of a
 * fingerprint looks like the key. */
char *ledger_find_digest(char *header, size_t len, int a);

/* ledger_resume.c: whether the finished file is there already and is this run's; opening and locking the part file; going on where the
 * journal ends, or beginning anew where there is none. */
int ledger_check_finished(Ledger *l, const char *fingerprint, bool *there, Error *e);
int ledger_open_part(Ledger *l, Error *e);
int ledger_resume(Ledger *l, const char *fingerprint, const LedgerTokens *tokens, Error *e);

#endif
