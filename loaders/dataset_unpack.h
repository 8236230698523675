/* dataset_unpack.h: the uncompressed bytes of a data file: plain, gzip (RFC 1952, several members allowed) or a .zip holding one
 * data file (PKWARE APPNOTE 6.3, methods stored and deflate, no zip64, no encryption). Uses zlib for inflate and CRC-32.
 *
 * Files are hostile: what comes out is counted as it comes, at most DATASET_MAX_BYTES, and an expansion above
 * DATASET_MAX_RATIO to 1 is refused once it exceeds DATASET_RATIO_FREE_BYTES (text packs 3 to 20 to 1; deflate's limit is 1032). */
#ifndef STRATA_LOADERS_DATASET_UNPACK_H
#define STRATA_LOADERS_DATASET_UNPACK_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"

#define DATASET_MAX_BYTES ((size_t)8 << 30)
#define DATASET_RATIO_FREE_BYTES ((size_t)32 << 20)
#define DATASET_MAX_RATIO 250

typedef enum DatasetFormat { DATASET_FORMAT_NONE, DATASET_FORMAT_TEXT, DATASET_FORMAT_JSONL } DatasetFormat;

/* The format a file name stands for, by its ending in any case: .txt .raw .tokens, or .jsonl; a .gz after it is looked through. */
DatasetFormat dataset_format(const char *name);

typedef struct DatasetBytes {
    void *data; /* malloc'ed, or a read-only map */
    size_t size_bytes;
    bool is_map;
    DatasetFormat format;
} DatasetBytes;

/* format NONE: what the name stands for; else the file has this one whatever its name. A pipe is read to its end. */
int dataset_unpack(const char *path, DatasetFormat format, DatasetBytes *out, Error *e);
void dataset_unpack_free(DatasetBytes *b);

#endif
