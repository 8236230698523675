/* hub_download.h: a list of files over HTTP into a folder: in parts, several at a time, going on where an earlier run was cut off, each
 * checked by its size and, where it is known, its SHA-256.
 *
 * A file TARGET grows as TARGET.strata-partial; TARGET.strata-parts holds one byte for each part, '1' when the part is there. When
 * all are, the whole is hashed and renamed. A wrong hash is an error; what was fetched is then removed. */
#ifndef STRATA_LOADERS_HUB_DOWNLOAD_H
#define STRATA_LOADERS_HUB_DOWNLOAD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

typedef struct HubFile {
    char *name; /* shown in messages */
    char *url;
    char *target;    /* path of the finished file */
    char *etag;      /* of the content, without quotes */
    char sha256[65]; /* "" when unknown */
    uint64_t size_bytes;
} HubFile;

typedef struct HubTransfer {
    const char *authorization; /* "Bearer ...", or NULL */
    int jobs;                  /* connections at a time; 0: 4 */
    uint64_t part_bytes;       /* 0: 32 MiB */
    bool quiet;
    const volatile sig_atomic_t *stop; /* may be NULL */
} HubTransfer;

/* Bytes of the files that are neither there nor partly there: what the disk must still have room for. */
uint64_t hub_download_missing_bytes(const HubFile *files, size_t n_files);

/* Fetches what is missing. Status 130 when stopped: the same call goes on. */
int hub_download(const HubFile *files, size_t n_files, const HubTransfer *transfer, Error *e);

/* One file of unknown size under a plain URL, in one stream, to PATH (PATH.strata-partial grows until it is whole). */
int hub_download_url(const char *url, const char *path, const HubTransfer *transfer, Error *e);

#endif
