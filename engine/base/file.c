/* file.c: maps, whole-file reads and atomic writes (POSIX). */
#include "engine/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/checked.h"
#include "engine/base/sha256.h"

static int failed(Error *e, const char *path, const char *action)
{
    return error_set(e, STATUS_FAILED, "%s: cannot %s: %s", path, action, strerror(errno));
}

static const char *kind_name(mode_t mode)
{
    return S_ISDIR(mode)    ? "a folder"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
                            : "something else";
}

int file_map(const char *path, FileMap *out, Error *e)
{
    *out = (FileMap){0};
    int status = STATUS_FAILED;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe nobody writes must not block us */
    if (fd < 0)
        return failed(e, path, "open");
    struct stat st;
    if (fstat(fd, &st) != 0) {
        failed(e, path, "stat");
        goto done;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(e, STATUS_FAILED, "%s: expected a regular file, found %s", path, kind_name(st.st_mode));
        goto done;
    }
    if ((uintmax_t)st.st_size > SIZE_MAX) {
        error_set(e, STATUS_FAILED, "%s: %jd bytes do not fit the address space", path, (intmax_t)st.st_size);
        goto done;
    }
    if (st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            failed(e, path, "map");
            goto done;
        }
        *out = (FileMap){data, (size_t)st.st_size};
    }
    status = STATUS_OK;
done:
    close(fd);
    return status;
}

void file_unmap(FileMap *m)
{
    if (m && m->data)
        munmap((void *)m->data, m->size_bytes);
    if (m)
        *m = (FileMap){0};
}

void file_drop_pages(const void *data, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)data + bytes) / page * page;
    if (end > begin)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void file_will_need(const void *data, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t)data / page * page;
    if (bytes > 0)
        madvise((void *)begin, (uintptr_t)data + bytes - begin, MADV_WILLNEED);
}

/* The file's bytes in pieces, to `take`, until there are no more or it fails. */
static int read_pieces(const char *path, int (*take)(void *arg, const char *bytes, size_t n, Error *e), void *arg, Error *e)
{
    enum { PIECE = 1 << 18 };
    int status = STATUS_OK, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return failed(e, path, "open");
    char *piece = malloc(PIECE);
    if (!piece)
        status = error_set(e, STATUS_FAILED, "%s: out of memory", path);
    for (ssize_t n = 1; !status && n != 0;) {
        n = read(fd, piece, PIECE);
        if (n > 0)
            status = take(arg, piece, (size_t)n, e);
        else if (n < 0 && errno != EINTR)
            status = failed(e, path, "read");
    }
    free(piece);
    close(fd);
    return status;
}

typedef struct Reading {
    const char *path;
    StrBuf *out;
    size_t total, most;
} Reading;

static int append_piece(void *arg, const char *bytes, size_t n, Error *e)
{
    Reading *r = arg;
    r->total += n;
    if (r->total > r->most)
        return error_set(e, STATUS_FAILED, "%s: expected at most %zu bytes, found more", r->path, r->most);
    strbuf_append(r->out, bytes, n);
    return STATUS_OK;
}

int file_read(const char *path, size_t max_bytes, StrBuf *out, Error *e)
{
    Reading r = {.path = path, .out = out, .most = max_bytes};
    int status = read_pieces(path, append_piece, &r, e);
    if (!status)
        strbuf_append(out, "", 0); /* data is a string even of an empty file */
    if (!status && out->failed)
        status = error_set(e, STATUS_FAILED, "%s: out of memory after %zu bytes", path, r.total);
    return status;
}

static int write_all(int fd, const char *path, const void *data, size_t bytes, Error *e)
{
    const char *p = data;
    for (size_t done = 0; done < bytes;) {
        size_t part = bytes - done < (size_t)1 << 30 ? bytes - done : (size_t)1 << 30;
        ssize_t n = write(fd, p + done, part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(e, STATUS_FAILED, "%s: cannot write: %s (%zu of %zu bytes were written)", path,
                             n < 0 ? strerror(errno) : "no progress", done, bytes);
        done += (size_t)n;
    }
    return STATUS_OK;
}

/* Some file systems cannot sync a folder or a device; that is not an error of ours. */
static bool sync_failed(int fd)
{
    return fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS;
}

/* Opens and locks the temporary file. Its name is fixed, so that what a killed process left is overwritten by the next; the
 * lock keeps two processes from writing it at once. After waiting for the lock the name may belong to another file. */
static int open_temporary(const char *temporary, int *fd_out, Error *e)
{
    for (;;) {
        int fd = open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0)
            return failed(e, temporary, "create");
        struct stat mine, named;
        int locked;
        do
            locked = flock(fd, LOCK_EX);
        while (locked != 0 && errno == EINTR);
        if (fstat(fd, &mine) != 0) {
            failed(e, temporary, "stat");
            close(fd);
            return STATUS_FAILED;
        }
        if (stat(temporary, &named) != 0 || named.st_ino != mine.st_ino || named.st_dev != mine.st_dev) {
            close(fd);
            continue;
        }
        if (ftruncate(fd, 0) != 0) {
            failed(e, temporary, "truncate");
            close(fd);
            return STATUS_FAILED;
        }
        *fd_out = fd;
        return STATUS_OK;
    }
}

static int sync_parent(const char *path, Error *e)
{
    const char *base = file_basename(path);
    size_t len = (size_t)(base - path);
    if (len == 0)
        return file_sync_dir(".", e);
    char *parent = strndup(path, len);
    if (!parent)
        return error_set(e, STATUS_FAILED, "%s: out of memory", path);
    int status = file_sync_dir(parent, e);
    free(parent);
    return status;
}

/* A device or a pipe (/dev/stdout) cannot be replaced by a rename: it is written in place. */
static int write_in_place(const char *path, const void *data, size_t bytes, Error *e)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return failed(e, path, "open for writing");
    int status = write_all(fd, path, data, bytes, e);
    if (close(fd) != 0 && !status)
        status = failed(e, path, "close");
    return status;
}

int file_write_atomic(const char *path, const void *data, size_t bytes, Error *e)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        if (S_ISDIR(st.st_mode))
            return error_set(e, STATUS_FAILED, "%s: cannot write: expected a file, found a folder", path);
        return write_in_place(path, data, bytes, e);
    }
    size_t len = strlen(path);
    char *temporary = malloc(len + sizeof ".tmp");
    if (!temporary)
        return error_set(e, STATUS_FAILED, "%s: out of memory", path);
    memcpy(temporary, path, len);
    memcpy(temporary + len, ".tmp", sizeof ".tmp");
    int fd = -1;
    int status = open_temporary(temporary, &fd, e);
    if (status) {
        free(temporary);
        return status;
    }
    status = write_all(fd, path, data, bytes, e);
    if (!status && sync_failed(fd))
        status = failed(e, path, "write to disk");
    if (!status && rename(temporary, path) != 0)
        status = failed(e, path, "replace");
    if (status)
        unlink(temporary);
    close(fd); /* after the rename: the lock is held as long as the name can be ours */
    free(temporary);
    return status ? status : sync_parent(path, e);
}

int file_write_text(const StrBuf *text, Error *e, const char *path_format, ...)
{
    StrBuf path = {0};
    va_list args;
    va_start(args, path_format);
    strbuf_vprintf(&path, path_format, args);
    va_end(args);
    int status = STATUS_FAILED;
    if (path.failed)
        error_set(e, status, "out of memory for the name of a file");
    else if (text->failed)
        error_set(e, status, "%s: out of memory for its text", path.data);
    else
        status = file_write_atomic(path.data, text->data ? text->data : "", text->len, e);
    strbuf_free(&path);
    return status;
}

int file_make_dirs(const char *path, Error *e)
{
    char *copy = strdup(path);
    if (!copy)
        return error_set(e, STATUS_FAILED, "%s: out of memory", path);
    int status = STATUS_OK;
    for (char *p = copy; !status; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char held = *p;
        *p = '\0';
        if (*copy && mkdir(copy, 0777) != 0 && !file_is_dir(copy)) {
            if (errno == EEXIST)
                status = error_set(e, STATUS_FAILED, "%s: cannot make the folder: a file of that name is there", copy);
            else
                status = failed(e, copy, "make the folder");
        }
        *p = held;
        if (held == '\0')
            break;
    }
    free(copy);
    return status;
}

int file_sync_dir(const char *path, Error *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed(e, path, "open the folder");
    int status = sync_failed(fd) ? failed(e, path, "write the folder to disk") : STATUS_OK;
    close(fd);
    return status;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_exists_in(const char *dir, const char *name)
{
    char *path = file_join(dir, name);
    bool there = path && file_exists(path);
    free(path);
    return there;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    int before = errno;
    bool is_dir = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    errno = before; /* callers ask this to judge an error they are about to report */
    return is_dir;
}

static int hash_piece(void *arg, const char *bytes, size_t n, Error *e)
{
    (void)e;
    sha256_update(arg, bytes, n);
    return STATUS_OK;
}

int file_sha256(const char *path, char hex[65], Error *e)
{
    Sha256 s;
    hex[0] = '\0';
    sha256_begin(&s);
    int status = read_pieces(path, hash_piece, &s, e);
    if (!status)
        sha256_end(&s, hex);
    return status;
}

const char *file_basename(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *file_join(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b), bytes;
    if (!checked_add(a_len, b_len, &bytes) || !checked_add(bytes, 2, &bytes))
        return NULL;
    char *joined = malloc(bytes);
    if (!joined)
        return NULL;
    memcpy(joined, a, a_len);
    if (a_len > 0 && a[a_len - 1] != '/')
        joined[a_len++] = '/';
    memcpy(joined + a_len, b, b_len + 1);
    return joined;
}
