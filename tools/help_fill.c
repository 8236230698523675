/* help_fill.c: see help_fill.h. */
#include "tools/help_fill.h"

#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { NARROWEST = 40, INDENT = 4 };

typedef struct Filler {
    FILE *out;
    size_t width, column; /* column: where the next character goes; 0: no line is open */
    size_t hang;          /* where the open paragraph's further lines begin */
    bool needs_space;     /* before the next word */
} Filler;

size_t help_width(FILE *out)
{
    struct winsize size;
    return isatty(fileno(out)) && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static size_t indent_of(const char *line, size_t len)
{
    size_t n = 0;
    while (n < len && line[n] == ' ')
        n++;
    return n;
}

/* Where what is said of a line's options begins, behind a gap; 0: the line has no such gap. */
static size_t column_of(const char *line, size_t len, size_t indent)
{
    for (size_t i = indent; i + 2 < len; i++) {
        size_t gap = indent_of(line + i, len - i);
        if (gap > 1 && line[i + gap] != '-')
            return i + gap;
        i += gap;
    }
    return 0;
}

/* "  strata WORD ...": not a row of the list of commands, which has a gap behind WORD. */
static bool is_command(const char *line, size_t len)
{
    static const char begin[] = "  strata ";
    if (len < sizeof begin || memcmp(line, begin, sizeof begin - 1) != 0)
        return false;
    const char *behind = memchr(line + sizeof begin - 1, ' ', len - (sizeof begin - 1));
    return behind && behind + 1 < line + len && behind[1] != ' ';
}

static void end_line(Filler *f)
{
    if (f->column)
        fputc('\n', f->out);
    f->column = 0;
}

static void put_words(Filler *f, const char *text, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        size_t gap = indent_of(text + i, len - i) > 1 ? 2 : 1;
        i += indent_of(text + i, len - i);
        for (n = 0; i + n < len && text[i + n] != ' '; n++)
            ;
        if (f->needs_space && f->column + gap + n > f->width) {
            fprintf(f->out, "\n%*s", (int)f->hang, "");
            f->column = f->hang;
        } else if (f->needs_space) {
            fprintf(f->out, "%*s", (int)gap, "");
            f->column += gap;
        }
        fprintf(f->out, "%.*s", (int)n, text + i);
        f->column += n;
        f->needs_space = true;
    }
}

static void begin_paragraph(Filler *f, const char *line, size_t len, size_t indent)
{
    size_t column = column_of(line, len, indent);
    bool has_column = column && column <= f->width / 2;
    end_line(f);
    f->hang = has_column ? column : indent && indent < 2 * INDENT ? indent + INDENT : indent;
    f->column = has_column ? column : indent;
    f->needs_space = false;
    fprintf(f->out, "%.*s", (int)f->column, line);
    put_words(f, line + f->column, len - f->column);
}

void help_fill(const char *text, size_t width, FILE *out)
{
    size_t longest = 0;
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        longest = strcspn(line, "\n") > longest ? strcspn(line, "\n") : longest;
    if (width < NARROWEST || longest <= width) {
        fputs(text, out);
        return;
    }
    Filler f = {.out = out, .width = width};
    bool goes_on = false; /* a command broken by a backslash */
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n"), indent = indent_of(line, len);
        if (len == 0 || goes_on || is_command(line, len)) {
            end_line(&f);
            fprintf(out, "%.*s\n", (int)len, line);
            goes_on = len && line[len - 1] == '\\';
        } else if (f.column && indent == f.hang) {
            put_words(&f, line, len);
        } else {
            begin_paragraph(&f, line, len, indent);
        }
        line += len + (line[len] == '\n');
    }
    end_line(&f);
}
