/* latex.c: see latex.h. */
#include "experiments/latex.h"

#include <stdbool.h>
#include <string.h>

static void put_letter(StrBuf *out, char c)
{
    static const struct {
        char letter;
        const char *latex;
    } named[] = {{'~', "\\textasciitilde{}"}, {'^', "\\textasciicircum{}"}, {'\\', "\\textbackslash{}"},
                 {'<', "\\textless{}"},       {'>', "\\textgreater{}"},     {'|', "\\textbar{}"}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (c == named[i].letter) {
            strbuf_puts(out, named[i].latex);
            return;
        }
    if (strchr("&%$#_{}", c))
        strbuf_putc(out, '\\');
    strbuf_putc(out, (unsigned char)c < 0x20 ? ' ' : c);
}

void latex_text(StrBuf *out, const char *text)
{
    for (; *text; text++)
        put_letter(out, *text);
}

void latex_begin(StrBuf *out, CaptionsLang lang, const char *file)
{
    if (lang == CAPTIONS_JA)
        strbuf_printf(out,
                      "%% lualatex %s (LuaTeX-ja with its ltjsarticle, booktabs, graphicx, geometry)\n"
                      "\\documentclass[a4paper]{ltjsarticle}\n",
                      file);
    else
        strbuf_printf(out,
                      "%% pdflatex %s (booktabs, graphicx, geometry)\n"
                      "\\documentclass[a4paper]{article}\n",
                      file);
    strbuf_puts(out, "\\usepackage{booktabs,graphicx}\n\\usepackage[margin=17mm]{geometry}\n"
                     "\\renewcommand{\\topfraction}{0.95}\n\\renewcommand{\\bottomfraction}{0.95}\n"
                     "\\renewcommand{\\textfraction}{0.05}\n\\renewcommand{\\floatpagefraction}{0.8}\n"
                     "\\setcounter{topnumber}{4}\n\\setcounter{totalnumber}{6}\n"
                     "\\begin{document}\n");
}

void latex_end(StrBuf *out)
{
    strbuf_puts(out, "\\end{document}\n");
}

void latex_figure(StrBuf *out, const char *const *files, const int *widths_mm, size_t n, const char *caption)
{
    strbuf_puts(out, "\\begin{figure}[htbp]\n\\centering\n");
    for (size_t i = 0; i < n; i++)
        strbuf_printf(out, "%s\\includegraphics[width=%dmm]{%s}\n", i ? "\n" : "", widths_mm[i], files[i]);
    strbuf_puts(out, "\\caption{");
    latex_text(out, caption);
    strbuf_puts(out, "}\n\\end{figure}\n");
}

static void put_heading(StrBuf *out, const char *command, const char *line, size_t len)
{
    strbuf_printf(out, "\\%s*{", command);
    for (size_t i = 0; i < len; i++)
        put_letter(out, line[i]);
    strbuf_puts(out, "}\n");
}

void latex_prose(StrBuf *out, const char *markdown)
{
    for (const char *line = markdown; *line;) {
        size_t len = strcspn(line, "\n");
        bool is_code = false;
        if (strncmp(line, "# ", 2) == 0)
            put_heading(out, "section", line + 2, len - 2);
        else if (strncmp(line, "## ", 3) == 0)
            put_heading(out, "subsection", line + 3, len - 3);
        else {
            for (size_t i = 0; i < len; i++) {
                if (line[i] == '`') {
                    strbuf_puts(out, is_code ? "}" : "\\texttt{");
                    is_code = !is_code;
                } else
                    put_letter(out, line[i]);
            }
            strbuf_puts(out, is_code ? "}\n" : "\n");
        }
        line += len + (line[len] == '\n');
    }
}
