/* run_status.c: `strata status DIR`: how far the runs in and below a folder are, read from run.json and the ledger's journal alone, so
 * that another machine's runs on a shared disk can be watched. Nothing is locked or written. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/progress.h"
#include "engine/base/strbuf.h"
#include "engine/ledger_layout.h"
#include "experiments/studies.h"

enum { MAX_DEPTH = 8, MAX_BYTES = 64 << 20 };

typedef struct Watch {
    const StrataStatusOptions *options;
    StrBuf json;
    size_t n_runs, n_complete;
    double blocks_done, blocks_total;
} Watch;

static size_t count_lines(const char *path, time_t *written)
{
    StrBuf text = {0};
    Error ignored;
    struct stat st;
    size_t n = 0;
    *written = stat(path, &st) == 0 ? st.st_mtime : 0;
    if (*written && file_read(path, MAX_BYTES, &text, &ignored) == STATUS_OK)
        for (size_t i = 0; i < text.len; i++)
            n += text.data[i] == '\n';
    strbuf_free(&text);
    return n ? n - 1 : 0; /* the first line is the journal's stamp */
}

static void report_run(Watch *w, const char *dir, const JsonValue *run)
{
    char *journal = file_join(dir, LEDGER_JOURNAL);
    const char *state = json_text(json_get(run, "state")), *blocks = json_text(json_get(json_get(run, "options"), "n_blocks"));
    state = state ? state : "unknown";
    bool complete = strcmp(state, "complete") == 0;
    double total = blocks ? strtod(blocks, NULL) : 0, done = 0;
    time_t written = 0;
    if (journal)
        done = complete ? total : (double)count_lines(journal, &written);
    free(journal);
    w->n_runs++;
    w->n_complete += complete;
    w->blocks_done += done;
    w->blocks_total += total;
    if (w->options->json) {
        strbuf_puts(&w->json, w->n_runs > 1 ? ",\n  {\"folder\": " : "\n  {\"folder\": ");
        strbuf_json_string(&w->json, dir, strlen(dir));
        strbuf_puts(&w->json, ", \"state\": ");
        strbuf_json_string(&w->json, state, strlen(state));
        strbuf_printf(&w->json, ", \"blocks_done\": %.0f, \"blocks\": %.0f}", done, total);
        return;
    }
    FILE *out = w->options->out;
    if (!out)
        return;
    if (total > 0)
        fprintf(out, "%-9s %3.0f %%  %.0f of %.0f blocks  %s", state, 100 * done / total, done, total, dir);
    else /* strata diff counts none */
        fprintf(out, "%-9s %3d %%  %s", state, complete ? 100 : 0, dir);
    if (written) {
        char ago[48];
        double seconds = difftime(time(NULL), written);
        progress_format_time(seconds > 0 ? seconds : 0, ago, sizeof ago);
        fprintf(out, "  (last block %s ago)", ago);
    }
    fputc('\n', out);
}

static int visit(Watch *w, const char *dir, int depth, Error *e)
{
    struct dirent **entries = NULL;
    char *path = file_join(dir, "run.json");
    int n, status = path ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: out of memory", dir);
    if (!status && file_exists(path)) {
        Arena arena = {0};
        StrBuf text = {0};
        const JsonValue *run;
        status = file_read(path, MAX_BYTES, &text, e);
        if (!status)
            status = json_parse(text.data, text.len, path, &arena, &run, e);
        if (!status)
            report_run(w, dir, run);
        strbuf_free(&text);
        arena_free(&arena);
    }
    free(path);
    n = status || depth == MAX_DEPTH ? 0 : scandir(dir, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char *below = entries[i]->d_name[0] == '.' ? NULL : file_join(dir, entries[i]->d_name);
        if (!status && below && file_is_dir(below))
            status = visit(w, below, depth + 1, e);
        free(below);
        free(entries[i]);
    }
    free(entries);
    return status;
}

int strata_status(const StrataStatusOptions *options, StrataError *e)
{
    Watch w = {.options = options};
    const char *path = options->path ? options->path : "results";
    if (!file_is_dir(path))
        return error_set(e, STATUS_FAILED, "%s: no such folder", path);
    int status = visit(&w, path, 0, e);
    if (!status && !w.n_runs)
        status = error_set(e, STATUS_FAILED, "%s: expected run.json in it or below, found none", path);
    if (!status && options->json && options->out)
        fprintf(options->out, "[%s\n]\n", w.json.data ? w.json.data : "");
    if (!status && !options->json && options->out && w.n_runs > 1)
        fprintf(options->out, "%zu of %zu runs are complete; %.0f of %.0f blocks are done\n", w.n_complete, w.n_runs,
                w.blocks_done, w.blocks_total);
    strbuf_free(&w.json);
    return status;
}
