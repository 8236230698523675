/* temp_folder.h: the temporary folder of a test program: files are written, copied and removed in it by relative names. */
#ifndef STRATA_TESTS_TEMP_FOLDER_H
#define STRATA_TESTS_TEMP_FOLDER_H

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "tests/test.h"

static char temp_dir[64];

static inline char *temp_path(const char *name)
{
    return file_join(temp_dir, name);
}

static inline void write_temp(const char *name, const void *data, size_t bytes)
{
    Error e = {{0}};
    char *path = temp_path(name), *dir = strndup(path, (size_t)(file_basename(path) - path));
    CHECK_MSG(file_make_dirs(dir, &e) == 0, "%s", e.text);
    FILE *f = fopen(path, "wb");
    CHECK(f && (bytes == 0 || fwrite(data, 1, bytes, f) == bytes));
    if (f)
        fclose(f);
    free(dir);
    free(path);
}

static inline void copy_temp(const char *from, const char *name)
{
    StrBuf b = {0};
    Error e = {{0}};
    CHECK_MSG(file_read(from, 1 << 24, &b, &e) == 0, "%s", e.text);
    write_temp(name, b.data, b.len);
    strbuf_free(&b);
}

static inline void remove_temp(const char *name)
{
    char *path = temp_path(name);
    unlink(path);
    free(path);
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline bool temp_begin(void)
{
    snprintf(temp_dir, sizeof temp_dir, "/tmp/strata_test_XXXXXX");
    return mkdtemp(temp_dir) != NULL;
}

static inline void temp_end(void)
{
    nftw(temp_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
