/* dataset_unpack.c: see dataset_unpack.h. Owns gzip members and the zip directory; leaves lines, rows and UTF-8 to dataset.c. */
#include "loaders/dataset_unpack.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <zlib.h>

#include "engine/base/checked.h"
#include "engine/base/file.h"

static bool ends_with(const char *s, size_t len, const char *ending)
{
    size_t n = strlen(ending);
    return len > n && strncasecmp(s + len - n, ending, n) == 0;
}

static DatasetFormat format_of(const char *name, size_t len)
{
    if (ends_with(name, len, ".gz"))
        len -= 3;
    if (ends_with(name, len, ".jsonl"))
        return DATASET_FORMAT_JSONL;
    if (ends_with(name, len, ".txt") || ends_with(name, len, ".raw") || ends_with(name, len, ".tokens"))
        return DATASET_FORMAT_TEXT;
    return DATASET_FORMAT_NONE;
}

DatasetFormat dataset_format(const char *name)
{
    return format_of(name, strlen(name));
}

/* Growing output with the limits of the header. */
typedef struct Sink {
    unsigned char *data;
    size_t len, cap, packed_bytes;
} Sink;

static int sink_reserve(Sink *s, const char *path, Error *e)
{
    if (s->len >= DATASET_MAX_BYTES)
        return error_set(e, STATUS_FAILED, "%s: unpacks to more than %zu GiB, the limit for a data file", path,
                         DATASET_MAX_BYTES >> 30);
    if (s->len > DATASET_RATIO_FREE_BYTES && s->len / DATASET_MAX_RATIO > s->packed_bytes)
        return error_set(e, STATUS_FAILED, "%s: unpacks to more than %d times its size (%zu bytes): not a text archive", path,
                         DATASET_MAX_RATIO, s->packed_bytes);
    if (s->len < s->cap)
        return STATUS_OK;
    size_t cap = s->cap ? s->cap * 2 : 1 << 16;
    unsigned char *data = realloc(s->data, cap);
    if (!data)
        return error_set(e, STATUS_FAILED, "%s: no memory to unpack beyond %zu bytes", path, s->len);
    s->data = data;
    s->cap = cap;
    return STATUS_OK;
}

/* Inflates one stream (window_bits as zlib's inflateInit2) from data[0, size) onto the sink; *used: bytes of input it took. */
static int inflate_one(const unsigned char *data, size_t size, int window_bits, const char *path, Sink *sink, size_t *used,
                       Error *e)
{
    z_stream z = {0};
    if (inflateInit2(&z, window_bits) != Z_OK)
        return error_set(e, STATUS_FAILED, "%s: no memory for zlib", path);
    size_t at = 0; /* input handed to zlib so far */
    int status = STATUS_OK, code = Z_OK;
    while (code != Z_STREAM_END) {
        status = sink_reserve(sink, path, e);
        if (status)
            goto done;
        if (z.avail_in == 0 && at < size) {
            size_t n = size - at < ((size_t)1 << 30) ? size - at : (size_t)1 << 30;
            z.next_in = (Bytef *)(uintptr_t)(data + at); /* zlib's input pointer is not const, but it only reads */
            z.avail_in = (uInt)n;
            at += n;
        }
        size_t room = sink->cap - sink->len < ((size_t)1 << 30) ? sink->cap - sink->len : (size_t)1 << 30;
        z.next_out = sink->data + sink->len;
        z.avail_out = (uInt)room;
        code = inflate(&z, Z_NO_FLUSH);
        sink->len += room - z.avail_out;
        if (code == Z_BUF_ERROR || (code == Z_OK && z.avail_in == 0 && at == size && z.avail_out > 0)) {
            status = error_set(e, STATUS_FAILED, "%s: compressed data ends early, after %zu unpacked bytes", path, sink->len);
            goto done;
        }
        if (code != Z_OK && code != Z_STREAM_END) {
            status = error_set(e, STATUS_FAILED, "%s: damaged compressed data at byte %zu: %s", path, at - z.avail_in,
                               z.msg ? z.msg : "zlib gives no reason");
            goto done;
        }
    }
    *used = at - z.avail_in;
done:
    inflateEnd(&z);
    return status;
}

static int unpack_gzip(const char *path, const unsigned char *data, size_t size, Sink *sink, Error *e)
{
    sink->packed_bytes = size;
    size_t at = 0;
    do {
        size_t used = 0;
        int status = inflate_one(data + at, size - at, 16 + MAX_WBITS, path, sink, &used, e);
        if (status)
            return status;
        at += used;
        if (at < size && data[at] == 0) { /* gzip allows zero padding after the last member */
            while (at < size && data[at] == 0)
                at++;
            if (at == size)
                return STATUS_OK;
        }
        if (at < size && data[at] != 0x1f)
            return error_set(e, STATUS_FAILED,
                             "%s: byte %zu: expected another gzip member or the end of the file, found 0x%02x", path, at,
                             data[at]);
    } while (at < size);
    return STATUS_OK;
}

static uint32_t u16_at(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t u32_at(const unsigned char *p)
{
    return u16_at(p) | u16_at(p + 2) << 16;
}

typedef struct ZipEntry {
    uint32_t flags, method, crc, packed, unpacked, header_offset;
    DatasetFormat format;
} ZipEntry;

/* What archivers add on their own: folders, macOS resource forks, .DS_Store. */
static bool zip_entry_is_noise(const char *name, size_t len)
{
    return len == 0 || name[len - 1] == '/' || (len >= 9 && memcmp(name, "__MACOSX/", 9) == 0) ||
           ends_with(name, len, "/.DS_Store");
}

/* Finds the one data file of the archive. */
static int zip_find(const char *path, const unsigned char *data, size_t size, ZipEntry *out, Error *e)
{
    enum { END_BYTES = 22, CENTRAL_BYTES = 46, MAX_COMMENT = 65535 };
    size_t lowest = size > END_BYTES + MAX_COMMENT ? size - END_BYTES - MAX_COMMENT : 0;
    const unsigned char *end = NULL;
    for (size_t at = size >= END_BYTES ? size - END_BYTES + 1 : 0; at-- > lowest;) {
        /* The comment must reach exactly to the end of the file, else the signature is part of something else. */
        if (u32_at(data + at) == 0x06054b50 && u16_at(data + at + 20) == size - at - END_BYTES) {
            end = data + at;
            break;
        }
    }
    if (!end)
        return error_set(e, STATUS_FAILED, "%s: not a zip archive, or cut off: no end-of-directory record", path);
    size_t n_entries = u16_at(end + 10), directory_bytes = u32_at(end + 12), at = u32_at(end + 16);
    if (n_entries == 0xffff || directory_bytes == 0xffffffff || at == 0xffffffff)
        return error_set(e, STATUS_FAILED, "%s: zip64 archives are not read; unpack it and give the file itself", path);
    if (u16_at(end + 4) != 0 || u16_at(end + 6) != 0 || u16_at(end + 8) != n_entries)
        return error_set(e, STATUS_FAILED, "%s: part of a split zip archive; expected all in one file", path);
    if (!checked_range(at, directory_bytes, (size_t)(end - data)))
        return error_set(e, STATUS_FAILED, "%s: damaged zip directory: %zu bytes at %zu in a file of %zu", path,
                         directory_bytes, at, size);
    size_t stop = at + directory_bytes, n_found = 0;
    char first[128] = "";
    for (size_t i = 0; i < n_entries; i++) {
        if (!checked_range(at, CENTRAL_BYTES, stop) || u32_at(data + at) != 0x02014b50)
            return error_set(e, STATUS_FAILED, "%s: damaged zip directory at entry %zu of %zu", path, i + 1, n_entries);
        const unsigned char *h = data + at;
        size_t name_len = u16_at(h + 28), rest = u16_at(h + 30) + (size_t)u16_at(h + 32);
        if (!checked_range(at + CENTRAL_BYTES, name_len + rest, stop))
            return error_set(e, STATUS_FAILED, "%s: damaged zip directory at entry %zu of %zu", path, i + 1, n_entries);
        const char *name = (const char *)h + CENTRAL_BYTES;
        at += CENTRAL_BYTES + name_len + rest;
        if (zip_entry_is_noise(name, name_len))
            continue;
        int shown = name_len < 100 ? (int)name_len : 100;
        if (++n_found > 1)
            return error_set(e, STATUS_FAILED, "%s: expected a zip holding one .txt or .jsonl file, found several (%s, %.*s)",
                             path, first, shown, name);
        memcpy(first, name, (size_t)shown);
        first[shown] = '\0';
        *out = (ZipEntry){u16_at(h + 8),  u16_at(h + 10), u32_at(h + 16),           u32_at(h + 20),
                          u32_at(h + 24), u32_at(h + 42), format_of(name, name_len)};
        if (out->format == DATASET_FORMAT_NONE || ends_with(name, name_len, ".gz"))
            return error_set(e, STATUS_FAILED, "%s: expected a zip holding one .txt or .jsonl file, found %s", path, first);
    }
    if (n_found == 0)
        return error_set(e, STATUS_FAILED, "%s: expected a zip holding one .txt or .jsonl file, found an empty archive", path);
    return STATUS_OK;
}

static int unpack_zip(const char *path, const unsigned char *data, size_t size, DatasetFormat *format, Sink *sink, Error *e)
{
    enum { LOCAL_BYTES = 30 };
    ZipEntry z = {0};
    int status = zip_find(path, data, size, &z, e);
    if (status)
        return status;
    if (z.flags & 1)
        return error_set(e, STATUS_FAILED, "%s: the file in the zip is encrypted", path);
    if (z.packed == 0xffffffff || z.unpacked == 0xffffffff || z.header_offset == 0xffffffff)
        return error_set(e, STATUS_FAILED, "%s: zip64 archives are not read; unpack it and give the file itself", path);
    if (!checked_range(z.header_offset, LOCAL_BYTES, size) || u32_at(data + z.header_offset) != 0x04034b50)
        return error_set(e, STATUS_FAILED, "%s: damaged zip: no local header at byte %u", path, z.header_offset);
    const unsigned char *h = data + z.header_offset;
    size_t at = (size_t)z.header_offset + LOCAL_BYTES + u16_at(h + 26) + u16_at(h + 28);
    if (!checked_range(at, z.packed, size))
        return error_set(e, STATUS_FAILED, "%s: damaged zip: %u bytes at %zu in a file of %zu", path, z.packed, at, size);
    sink->packed_bytes = z.packed;
    if (z.method == 8) {
        size_t used = 0;
        status = inflate_one(data + at, z.packed, -MAX_WBITS, path, sink, &used, e);
        if (status)
            return status;
    } else if (z.method == 0) {
        sink->data = malloc(z.packed ? z.packed : 1);
        if (!sink->data)
            return error_set(e, STATUS_FAILED, "%s: no memory for %u bytes", path, z.packed);
        memcpy(sink->data, data + at, z.packed);
        sink->len = sink->cap = z.packed;
    } else {
        return error_set(e, STATUS_FAILED, "%s: zip compression method %u; expected 0 (stored) or 8 (deflate)", path, z.method);
    }
    uLong crc = crc32_z(crc32_z(0, NULL, 0), sink->data, sink->len);
    if (sink->len != z.unpacked || crc != z.crc)
        return error_set(e, STATUS_FAILED, "%s: damaged zip: expected %u bytes with CRC %08x, found %zu with %08lx", path,
                         z.unpacked, z.crc, sink->len, crc);
    *format = z.format;
    return STATUS_OK;
}

int dataset_unpack(const char *path, DatasetFormat format, DatasetBytes *out, Error *e)
{
    *out = (DatasetBytes){0};
    size_t len = strlen(path);
    bool is_zip = ends_with(path, len, ".zip");
    if (format == DATASET_FORMAT_NONE)
        format = dataset_format(path);
    if (!is_zip && format == DATASET_FORMAT_NONE)
        return error_set(e, STATUS_USAGE, "%s: expected a data file .txt, .jsonl, .txt.gz, .jsonl.gz or .zip", path);
    struct stat st;
    if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode)) {
        StrBuf text = {0};
        int status = file_read(path, DATASET_MAX_BYTES, &text, e);
        if (status)
            strbuf_free(&text);
        *out = (DatasetBytes){text.data, text.len, false, format};
        return status;
    }
    FileMap map = {0};
    int status = file_map(path, &map, e);
    if (status)
        return status;
    bool is_gzip = map.size_bytes >= 2 && map.data[0] == 0x1f && map.data[1] == 0x8b; /* never the start of UTF-8 text */
    Sink sink = {0};
    if (is_zip) {
        status = unpack_zip(path, map.data, map.size_bytes, &format, &sink, e);
    } else if (is_gzip) {
        status = unpack_gzip(path, map.data, map.size_bytes, &sink, e);
    } else if (ends_with(path, len, ".gz")) {
        status = error_set(e, STATUS_FAILED, "%s: named .gz but not gzip data", path);
    } else {
        *out = (DatasetBytes){(void *)(uintptr_t)map.data, map.size_bytes, true, format};
        return STATUS_OK;
    }
    file_unmap(&map);
    if (status) {
        free(sink.data);
        return status;
    }
    *out = (DatasetBytes){sink.data, sink.len, false, format};
    return STATUS_OK;
}

void dataset_unpack_free(DatasetBytes *b)
{
    if (b->is_map) {
        FileMap map = {b->data, b->size_bytes};
        file_unmap(&map);
    } else {
        free(b->data);
    }
    *b = (DatasetBytes){0};
}
