/* progress.c: the progress line on stderr (the one place of the libraries that shows anything, and only when asked to). */
#include "engine/base/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/base/terminal.h"

double progress_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_format_time(double seconds, char *out, size_t out_len)
{
    if (!(seconds >= 0) || seconds > 1e9) {
        snprintf(out, out_len, "unknown");
        return;
    }
    long s = lround(seconds);
    if (s >= 86400)
        snprintf(out, out_len, "%ld d %02ld h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        snprintf(out, out_len, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, out_len, "%ld min %02ld s", s / 60, s % 60);
    else
        snprintf(out, out_len, "%ld s", s);
}

/* 12345678 -> "12.3 M": the rate is read at a glance. */
static void format_count(double x, char *out, size_t out_len)
{
    if (x >= 1e9)
        snprintf(out, out_len, "%.1f G", x / 1e9);
    else if (x >= 1e6)
        snprintf(out, out_len, "%.1f M", x / 1e6);
    else if (x >= 1e4)
        snprintf(out, out_len, "%.1f k", x / 1e3);
    else
        snprintf(out, out_len, x < 10 && x != floor(x) ? "%.1f" : "%.0f", x);
}

static void show(Progress *p, double now)
{
    char done[32], total[32], rate[32], left[32], line[256];
    double seconds = now - p->start_s, fresh = p->done - p->first_done;
    double per_second = seconds > 0 && fresh > 0 ? fresh / seconds : 0;
    format_count(p->done, done, sizeof done);
    format_count(p->total, total, sizeof total);
    format_count(per_second, rate, sizeof rate);
    progress_format_time(per_second > 0 ? fmax(0, p->total - p->done) / per_second : NAN, left, sizeof left);
    double percent = p->total > 0 ? fmin(100, 100 * p->done / p->total) : 100;
    snprintf(line, sizeof line, "%s: %3.0f %%  %s / %s %s, %s/s, %s left", p->label, floor(percent), done, total, p->unit, rate,
             left);
    if (p->terminal) { /* a line wider than the terminal would wrap and could not be redrawn */
        fprintf(stderr, "\r%.*s\033[K", (int)terminal_columns(stderr) - 1, line);
        p->shown = true;
    } else {
        fprintf(stderr, "%s\n", line);
    }
    fflush(stderr);
    p->last_shown_s = now;
}

void progress_begin(Progress *p, const char *label, const char *unit, double total, double already_done, bool quiet)
{
    double now = progress_now_s();
    *p = (Progress){.label = label,
                    .unit = unit,
                    .total = total,
                    .done = already_done,
                    .start_s = now,
                    .first_done = already_done,
                    .last_shown_s = now,
                    .quiet = quiet,
                    .terminal = terminal_columns(stderr) > 0};
    if (!quiet && p->terminal)
        show(p, now);
}

void progress_update(Progress *p, double done)
{
    p->done = done;
    if (p->quiet)
        return;
    double now = progress_now_s();
    if (now - p->last_shown_s >= (p->terminal ? 0.1 : 60.0))
        show(p, now);
}

void progress_end(Progress *p)
{
    if (p->shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        p->shown = false;
    }
}
