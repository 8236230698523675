/* figure_canvas.c: see figure_canvas.h. */
#include "experiments/figure_canvas.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cairo/cairo-pdf.h>
#include <cairo/cairo.h>

#include "engine/base/file.h"
#include "engine/base/strbuf.h"
#include "engine/base/utf8.h"

#define PI 3.14159265358979323846
#define FONT "DejaVu Sans" /* cairo takes the system's sans where it is missing */
#define PNG_DPI 300.0

struct FigureCanvas {
    cairo_t *cr; /* NULL: SVG */
    StrBuf *svg;
    FigureColour text;
};

static void use_font(cairo_t *cr, const char *family, double size, bool bold)
{
    cairo_select_font_face(cr, family, CAIRO_FONT_SLANT_NORMAL, bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, size);
}

/* An unknown family is silently another font, so the question is whether glyphs are there: number 0 is the box. */
static bool family_has(cairo_t *cr, const char *family, const char *text)
{
    use_font(cr, family, 10, false);
    cairo_glyph_t *glyphs = NULL;
    int n = 0;
    bool all = cairo_scaled_font_text_to_glyphs(cairo_get_scaled_font(cr), 0, 0, text, -1, &glyphs, &n, NULL, NULL, NULL) ==
                   CAIRO_STATUS_SUCCESS &&
               n > 0;
    for (int i = 0; i < n && all; i++)
        all = glyphs[i].index != 0;
    cairo_glyph_free(glyphs);
    return all;
}

static const char *japanese_family(void)
{
    static const char *const families[] = {
        "Noto Sans CJK JP",  "Noto Sans JP",        "Source Han Sans JP",  "IPAexGothic", "IPAGothic", "IPAPGothic",
        "TakaoGothic",       "VL Gothic",           "Hiragino Sans",       "Yu Gothic",   "MS Gothic", "Noto Sans CJK SC",
        "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "sans-serif"};
    static const char *found; /* looked for once; NULL afterwards too where there is none */
    static bool looked;
    if (looked)
        return found;
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_A8, 1, 1);
    cairo_t *cr = cairo_create(surface);
    const char *test = "\xe5\xb1\xa4\xe3\x81\xae\xe3\x83\x88\xe5\x93\x81\xe8\xa9\x9e", *wanted = getenv("STRATA_FONT_JA");
    if (wanted && *wanted && family_has(cr, wanted, test))
        found = wanted;
    for (size_t i = 0; i < sizeof families / sizeof *families && !found; i++)
        if (family_has(cr, families[i], test))
            found = families[i];
    looked = true;
    cairo_destroy(cr);
    cairo_surface_destroy(surface);
    return found;
}

bool figure_font_has_japanese(void)
{
    return japanese_family() != NULL;
}

/* The next run of text in one font, copied into run; returns its length in text, 0 at the end. */
static size_t next_run(const char *text, char run[256], const char **family)
{
    size_t len = 0, left = strlen(text);
    bool is_asian = false;
    while (len < left) {
        uint32_t code = 0;
        size_t n = utf8_decode(text + len, left - len, &code);
        n = n ? n : 1;
        bool asian = code >= 0x2e80; /* CJK, kana, full-width forms; marks below it are DejaVu's */
        if (len == 0)
            is_asian = asian;
        if (asian != is_asian || len + n >= 256)
            break;
        len += n;
    }
    memcpy(run, text, len);
    run[len] = '\0';
    *family = is_asian && japanese_family() ? japanese_family() : FONT;
    return len;
}

double figure_text_width(const char *text, double size, bool bold)
{
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_A8, 1, 1);
    cairo_t *cr = cairo_create(surface);
    cairo_font_options_t *options = cairo_font_options_create();
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_set_font_options(cr, options);
    cairo_font_options_destroy(options);
    const char *family;
    char run[256];
    double width = 0;
    for (size_t n; (n = next_run(text, run, &family)) > 0; text += n) {
        cairo_text_extents_t extents = {0};
        use_font(cr, family, 100, bold); /* large and scaled down: no rounding to pixels */
        cairo_text_extents(cr, run, &extents);
        width += extents.x_advance;
    }
    cairo_destroy(cr);
    cairo_surface_destroy(surface);
    return width * size / 100;
}

static void set_colour(cairo_t *cr, FigureColour k)
{
    cairo_set_source_rgba(cr, k.r, k.g, k.b, k.a);
}

static void set_pen(cairo_t *cr, const FigurePen *pen)
{
    int n = 0;
    while (n < 4 && pen->dash[n] > 0)
        n++;
    set_colour(cr, pen->colour);
    cairo_set_line_width(cr, pen->width);
    cairo_set_dash(cr, pen->dash, n, 0);
    cairo_set_line_join(cr, CAIRO_LINE_JOIN_ROUND);
}

/* Two decimals: a 7000th of an inch. Never "-0". */
static void svg_number(StrBuf *b, double v)
{
    double r = round(v * 100) / 100;
    strbuf_json_number(b, r == 0 ? 0.0 : r);
}

static void svg_attribute(StrBuf *b, const char *name, double v)
{
    strbuf_printf(b, " %s=\"", name);
    svg_number(b, v);
    strbuf_putc(b, '"');
}

static void svg_colour(StrBuf *b, const char *name, FigureColour k)
{
    strbuf_printf(b, " %s=\"#%02x%02x%02x\"", name, (unsigned)lround(k.r * 255), (unsigned)lround(k.g * 255),
                  (unsigned)lround(k.b * 255));
    if (k.a < 1) {
        char opacity[32];
        snprintf(opacity, sizeof opacity, "%s-opacity", name);
        svg_attribute(b, opacity, k.a);
    }
}

static void svg_pen(StrBuf *b, const FigurePen *pen)
{
    svg_colour(b, "stroke", pen->colour);
    svg_attribute(b, "stroke-width", pen->width);
    if (pen->dash[0] > 0) {
        strbuf_puts(b, " stroke-dasharray=\"");
        for (int i = 0; i < 4 && pen->dash[i] > 0; i++) {
            if (i)
                strbuf_putc(b, ' ');
            svg_number(b, pen->dash[i]);
        }
        strbuf_putc(b, '"');
    }
}

static void svg_points(StrBuf *b, const double *xy, size_t n)
{
    strbuf_puts(b, " points=\"");
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_putc(b, ' ');
        svg_number(b, xy[2 * i]);
        strbuf_putc(b, ',');
        svg_number(b, xy[2 * i + 1]);
    }
    strbuf_putc(b, '"');
}

static void trace_points(cairo_t *cr, const double *xy, size_t n)
{
    cairo_new_path(cr);
    for (size_t i = 0; i < n; i++)
        cairo_line_to(cr, xy[2 * i], xy[2 * i + 1]);
}

void figure_line(FigureCanvas *c, const double *xy, size_t n_points, const FigurePen *pen)
{
    if (c->cr) {
        trace_points(c->cr, xy, n_points);
        set_pen(c->cr, pen);
        cairo_stroke(c->cr);
        return;
    }
    strbuf_puts(c->svg, "<polyline fill=\"none\" stroke-linejoin=\"round\"");
    svg_pen(c->svg, pen);
    svg_points(c->svg, xy, n_points);
    strbuf_puts(c->svg, "/>\n");
}

void figure_fill(FigureCanvas *c, const double *xy, size_t n_points, FigureColour colour, const FigurePen *outline)
{
    if (c->cr) {
        trace_points(c->cr, xy, n_points);
        cairo_close_path(c->cr);
        set_colour(c->cr, colour);
        cairo_fill_preserve(c->cr);
        if (outline) {
            set_pen(c->cr, outline);
            cairo_stroke_preserve(c->cr);
        }
        cairo_new_path(c->cr);
        return;
    }
    strbuf_puts(c->svg, "<polygon");
    svg_colour(c->svg, "fill", colour);
    if (outline)
        svg_pen(c->svg, outline);
    svg_points(c->svg, xy, n_points);
    strbuf_puts(c->svg, "/>\n");
}

void figure_rect(FigureCanvas *c, double x, double y, double w, double h, FigureColour colour)
{
    if (c->cr) {
        cairo_rectangle(c->cr, x, y, w, h);
        set_colour(c->cr, colour);
        cairo_fill(c->cr);
        return;
    }
    strbuf_puts(c->svg, "<rect");
    svg_attribute(c->svg, "x", x);
    svg_attribute(c->svg, "y", y);
    svg_attribute(c->svg, "width", w);
    svg_attribute(c->svg, "height", h);
    svg_colour(c->svg, "fill", colour);
    strbuf_puts(c->svg, "/>\n");
}

void figure_circle(FigureCanvas *c, double x, double y, double radius, FigureColour colour, const FigurePen *outline)
{
    if (c->cr) {
        cairo_new_path(c->cr);
        cairo_arc(c->cr, x, y, radius, 0, 2 * PI);
        set_colour(c->cr, colour);
        cairo_fill_preserve(c->cr);
        if (outline) {
            set_pen(c->cr, outline);
            cairo_stroke_preserve(c->cr);
        }
        cairo_new_path(c->cr);
        return;
    }
    strbuf_puts(c->svg, "<circle");
    svg_attribute(c->svg, "cx", x);
    svg_attribute(c->svg, "cy", y);
    svg_attribute(c->svg, "r", radius);
    svg_colour(c->svg, "fill", colour);
    if (outline)
        svg_pen(c->svg, outline);
    strbuf_puts(c->svg, "/>\n");
}

static void svg_escape(StrBuf *b, const char *s)
{
    for (; *s; s++) {
        if (*s == '<')
            strbuf_puts(b, "&lt;");
        else if (*s == '>')
            strbuf_puts(b, "&gt;");
        else if (*s == '&')
            strbuf_puts(b, "&amp;");
        else if ((unsigned char)*s < 0x20) /* not allowed in XML */
            strbuf_putc(b, ' ');
        else
            strbuf_putc(b, *s);
    }
}

void figure_text(FigureCanvas *c, double x, double y, const char *text, double size, FigureAnchor anchor, double degrees,
                 bool bold)
{
    if (c->cr) {
        double width = anchor == FIGURE_START ? 0 : figure_text_width(text, size, bold);
        cairo_save(c->cr);
        cairo_translate(c->cr, x, y);
        cairo_rotate(c->cr, -degrees * PI / 180);
        cairo_move_to(c->cr, anchor == FIGURE_MIDDLE ? -width / 2 : -width, 0);
        cairo_set_source_rgb(c->cr, c->text.r, c->text.g, c->text.b);
        const char *family;
        char run[256];
        for (size_t n; (n = next_run(text, run, &family)) > 0; text += n) { /* each run goes on where the last one ended */
            use_font(c->cr, family, size, bold);
            cairo_show_text(c->cr, run);
        }
        cairo_restore(c->cr);
        return;
    }
    static const char *const anchors[] = {"start", "middle", "end"};
    strbuf_puts(c->svg, "<text");
    svg_attribute(c->svg, "x", x);
    svg_attribute(c->svg, "y", y);
    svg_attribute(c->svg, "font-size", size);
    strbuf_printf(c->svg, " text-anchor=\"%s\"%s", anchors[anchor], bold ? " font-weight=\"bold\"" : "");
    if (c->text.r + c->text.g + c->text.b > 0)
        svg_colour(c->svg, "fill", (FigureColour){c->text.r, c->text.g, c->text.b, 1});
    if (degrees != 0) {
        strbuf_puts(c->svg, " transform=\"rotate(");
        svg_number(c->svg, -degrees);
        strbuf_putc(c->svg, ' ');
        svg_number(c->svg, x);
        strbuf_putc(c->svg, ' ');
        svg_number(c->svg, y);
        strbuf_puts(c->svg, ")\"");
    }
    strbuf_putc(c->svg, '>');
    svg_escape(c->svg, text);
    strbuf_puts(c->svg, "</text>\n");
}

void figure_text_colour(FigureCanvas *c, FigureColour colour)
{
    c->text = colour;
}

static cairo_status_t append_bytes(void *buffer, const unsigned char *data, unsigned n)
{
    StrBuf *b = buffer;
    strbuf_append(b, (const char *)data, n);
    return b->failed ? CAIRO_STATUS_NO_MEMORY : CAIRO_STATUS_SUCCESS;
}

/* Draws on a cairo surface and destroys it; PNG when png, else the surface itself writes into b. */
static int draw_surface(cairo_surface_t *surface, double scale, bool png, FigureDraw draw, const void *what, StrBuf *b,
                        const char *stem, Error *e)
{
    FigureCanvas c = {.cr = cairo_create(surface)};
    cairo_scale(c.cr, scale, scale);
    cairo_set_source_rgb(c.cr, 1, 1, 1);
    if (png)
        cairo_paint(c.cr);
    draw(&c, what);
    cairo_status_t code = cairo_status(c.cr);
    cairo_destroy(c.cr);
    if (png && code == CAIRO_STATUS_SUCCESS)
        code = cairo_surface_write_to_png_stream(surface, append_bytes, b);
    cairo_surface_finish(surface);
    if (code == CAIRO_STATUS_SUCCESS)
        code = cairo_surface_status(surface);
    cairo_surface_destroy(surface);
    if (code != CAIRO_STATUS_SUCCESS)
        return error_set(e, STATUS_FAILED, "%s: drawing failed: %s", stem, cairo_status_to_string(code));
    return STATUS_OK;
}

int figure_canvas_write(const char *stem, double width_pt, double height_pt, FigureDraw draw, const void *what, Error *e)
{
    StrBuf b = {0};
    strbuf_puts(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"");
    svg_attribute(&b, "width", width_pt / 72 * 96);
    svg_attribute(&b, "height", height_pt / 72 * 96);
    strbuf_puts(&b, " viewBox=\"0 0 ");
    svg_number(&b, width_pt);
    strbuf_putc(&b, ' ');
    svg_number(&b, height_pt);
    strbuf_puts(&b, "\" font-family=\"'DejaVu Sans', Verdana, 'Noto Sans CJK JP', "
                    "'Noto Sans JP', 'Hiragino Sans', 'Yu Gothic', sans-serif\">\n");
    FigureCanvas c = {.svg = &b};
    figure_rect(&c, 0, 0, width_pt, height_pt, (FigureColour){1, 1, 1, 1});
    draw(&c, what);
    strbuf_puts(&b, "</svg>\n");
    int status = file_write_text(&b, e, "%s.svg", stem);
    if (status)
        goto done;

    strbuf_reset(&b);
    double scale = PNG_DPI / 72;
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)lround(width_pt * scale), (int)lround(height_pt * scale));
    status = draw_surface(surface, scale, true, draw, what, &b, stem, e);
    if (!status)
        status = file_write_text(&b, e, "%s.png", stem);
    if (status)
        goto done;

    strbuf_reset(&b);
    surface = cairo_pdf_surface_create_for_stream(append_bytes, &b, width_pt, height_pt);
    /* cairo would stamp the time of day; the same figure is to be the same bytes. */
    cairo_pdf_surface_set_metadata(surface, CAIRO_PDF_METADATA_CREATE_DATE, "2000-01-01T00:00:00Z");
    status = draw_surface(surface, 1, false, draw, what, &b, stem, e);
    if (!status)
        status = file_write_text(&b, e, "%s.pdf", stem);
done:
    strbuf_free(&b);
    return status;
}
