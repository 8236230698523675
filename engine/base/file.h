/* file.h: files. Maps are read-only and private; writes of whole files are atomic (temporary name, fsync, rename, fsync of
 * the folder). */
#ifndef STRATA_BASE_FILE_H
#define STRATA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/strbuf.h"

typedef struct FileMap {
    const unsigned char *data; /* NULL for an empty file */
    size_t size_bytes;
} FileMap;

int file_map(const char *path, FileMap *out, Error *e);
void file_unmap(FileMap *m);
/* Tells the kernel that the pages wholly inside [data, data + bytes) will not be needed soon: they leave our resident set. */
void file_drop_pages(const void *data, size_t bytes);
void file_will_need(const void *data, size_t bytes);

int file_read(const char *path, size_t max_bytes, StrBuf *out, Error *e); /* appends; error above max_bytes */
int file_write_atomic(const char *path, const void *data, size_t bytes, Error *e);
/* The text as the file that the format names, whole or not at all; an error, too, where memory ran out for it. */
int file_write_text(const StrBuf *text, Error *e, const char *path_format, ...) STRATA_PRINTF(3, 4);
int file_make_dirs(const char *path, Error *e); /* like mkdir -p */
int file_sync_dir(const char *path, Error *e);
bool file_exists(const char *path);
bool file_exists_in(const char *dir, const char *name);
bool file_is_dir(const char *path);
int file_sha256(const char *path, char hex[65], Error *e);
/* "a/b/c.txt" -> "c.txt"; never allocates. */
const char *file_basename(const char *path);
/* a + "/" + b, malloc'ed; NULL when memory is out. */
char *file_join(const char *a, const char *b);

#endif
