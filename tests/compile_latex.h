/* compile_latex.h: compiles a document that the program wrote, where TeX is installed. */
#ifndef STRATA_TESTS_COMPILE_LATEX_H
#define STRATA_TESTS_COMPILE_LATEX_H

#include <stdio.h>
#include <stdlib.h>

#include "tests/test.h"

/* Whether the engine and the class of the language are there; japanese: lualatex and LuaTeX-ja, else pdflatex and booktabs. */
static inline bool latex_is_installed(bool japanese)
{
    return system(japanese ? "lualatex --version >/dev/null 2>&1 && kpsewhich ltjsarticle.cls >/dev/null 2>&1"
                           : "pdflatex --version >/dev/null 2>&1 && kpsewhich booktabs.sty >/dev/null 2>&1") == 0;
}

/* DIR/NAME.tex compiles as its first line says, and nothing is undefined, has no glyph or sticks out of its column. */
static inline void latex_check(const char *dir, const char *name)
{
    char command[1200];
    snprintf(command, sizeof command,
             "cd '%s' && engine=$(sed -n '1s/^%% \\([a-z]*latex\\) %s.tex .*/\\1/p' %s.tex) && [ -n \"$engine\" ] &&"
             " $engine -interaction=nonstopmode -halt-on-error %s.tex >%s.out 2>&1 &&"
             " $engine -interaction=nonstopmode -halt-on-error %s.tex >%s.out 2>&1 &&"
             " ! grep -E '^Overfull|^Missing character|undefined|LaTeX Warning' %s.log || { tail -n 20 %s.out; false; }",
             dir, name, name, name, name, name, name, name, name);
    CHECK_MSG(system(command) == 0, "%s/%s.tex", dir, name);
}

/* The tests english_compiles and japanese_compiles: check(japanese) writes a document and hands it to latex_check. */
#define LATEX_TESTS(check) \
    static void english_compiles(void) \
    { \
        if (!latex_is_installed(false)) \
            SKIP("no pdflatex with booktabs here"); \
        check(false); \
    } \
    static void japanese_compiles(void) \
    { \
        if (!latex_is_installed(true)) \
            SKIP("no lualatex with LuaTeX-ja here"); \
        check(true); \
    }

#endif
