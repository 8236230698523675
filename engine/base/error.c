/* error.c: fills the one-line Error; whatever bytes come in, printable UTF-8 goes out. */
#include "engine/base/error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

enum { RAW_BYTES = 4096 }; /* formatted text before escaping; longer text could not be shown anyway */

/* Control characters, C1 controls and the line and paragraph separators would break or hide a terminal line. */
static bool is_printable(uint32_t c)
{
    return c >= 0x20 && c != 0x7F && !(c >= 0x80 && c < 0xA0) && c != 0x2028 && c != 0x2029;
}

/* Copies raw into out of out_bytes, escaped; text that does not fit ends in "..." and is never cut inside a character. */
static void escape(const char *raw, size_t raw_len, char *out, size_t out_bytes)
{
    static const char hex[] = "0123456789abcdef";
    size_t room = out_bytes - 1, n = 0;
    size_t fits = 0; /* length of the longest whole prefix that leaves room for the dots */
    for (size_t i = 0; i < raw_len;) {
        uint32_t c = 0;
        size_t len = utf8_decode(raw + i, raw_len - i, &c);
        bool plain = len > 0 && is_printable(c);
        size_t used = len > 0 ? len : 1;
        size_t need = plain ? used : 4 * used;
        if (need > room - n) {
            n = fits;
            memcpy(out + n, "...", 3);
            n += 3;
            break;
        }
        if (plain) {
            memcpy(out + n, raw + i, used);
        } else {
            for (size_t k = 0; k < used; k++) {
                unsigned char byte = (unsigned char)raw[i + k];
                const char escaped[4] = {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
                memcpy(out + n + 4 * k, escaped, 4);
            }
        }
        n += need;
        i += used;
        if (n + 3 <= room)
            fits = n;
    }
    out[n] = '\0';
}

/* Length of what vsnprintf wrote; one character may be cut at the end of a full buffer, so that one is dropped. */
static size_t raw_length(int n)
{
    if (n < 0)
        return 0;
    return n < RAW_BYTES ? (size_t)n : RAW_BYTES - 4;
}

int error_set(Error *e, int status, const char *format, ...)
{
    if (!e)
        return status;
    char raw[RAW_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    escape(raw, raw_length(n), e->text, sizeof e->text);
    return status;
}

int error_prefix(Error *e, int status, const char *format, ...)
{
    if (!e)
        return status;
    char raw[RAW_BYTES], prefix[sizeof e->text], joined[2 * sizeof e->text + 2];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    escape(raw, raw_length(n), prefix, sizeof prefix);
    n = snprintf(joined, sizeof joined, "%s: %s", prefix, e->text);
    escape(joined, n < 0 ? 0 : (size_t)n, e->text, sizeof e->text);
    return status;
}
