/* draw.c - cell-exact text, bars in eighths of a cell, column plots. */
#include "ui/draw.h"

#include "base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

enum { LINE_TEXT = 1024 };

/* One character of the text as shown: its bytes in the text, what is drawn, and its cells. */
struct glyph_at {
    size_t bytes;
    wchar_t shown[QK_VISIBLE];
    size_t n;
    int cells;
};

/* A hidden character is drawn in its visible form (base/text.h), whatever text it is in. */
static struct glyph_at next_glyph(const struct canvas *canvas, const char *text)
{
    enum { LONGEST = 4 }; /* bytes of a character */
    char form[QK_VISIBLE];
    size_t left = strnlen(text, LONGEST), length;
    uint32_t code;
    struct glyph_at glyph = {.bytes = qk_next_character(text, left, &code), .n = 1};
    if (code == QK_BROKEN || qk_hidden(code)) {
        qk_visible(text, left, form, &length);
        for (glyph.n = 0; glyph.n < length; glyph.n++)
            glyph.shown[glyph.n] = (wchar_t)form[glyph.n];
        glyph.cells = (int)length;
        return glyph;
    }
    glyph.cells = code < 0x80 ? 1 : wcwidth((wchar_t)code);
    bool unknown = glyph.cells < 0 || (canvas->theme->ascii && code >= 0x80);
    glyph.shown[0] = unknown ? L'?' : (wchar_t)code;
    glyph.cells = unknown ? 1 : glyph.cells;
    return glyph;
}

int text_cells(const struct canvas *canvas, const char *text)
{
    int cells = 0;
    while (*text != '\0') {
        struct glyph_at glyph = next_glyph(canvas, text);
        cells += glyph.cells;
        text += glyph.bytes;
    }
    return cells;
}

static void set_style(struct canvas *canvas, enum style style)
{
    attr_t attributes;
    short pair;
    theme_attributes(canvas->theme, style, canvas->selected, &attributes, &pair);
    if (canvas->underlined)
        attributes |= A_UNDERLINE;
    if (canvas->reversed)
        attributes |= A_REVERSE;
    wattr_set(canvas->window, attributes, pair, NULL);
}

/* Appends glyphs of text to out while they fit in `width` cells; returns the cells used. */
static int collect(const struct canvas *canvas, const char *text, int width, wchar_t *out, size_t *n)
{
    int used = 0;
    while (*text != '\0' && *n + 1 < LINE_TEXT) {
        struct glyph_at glyph = next_glyph(canvas, text);
        if (used + glyph.cells > width || *n + glyph.n >= LINE_TEXT)
            break;
        for (size_t i = 0; i < glyph.n; i++)
            out[(*n)++] = glyph.shown[i];
        used += glyph.cells;
        text += glyph.bytes;
    }
    return used;
}

/* The last `width` cells of the text. */
static const char *tail_of(const struct canvas *canvas, const char *text, int width)
{
    int cells = text_cells(canvas, text);
    while (cells > width) {
        struct glyph_at glyph = next_glyph(canvas, text);
        cells -= glyph.cells;
        text += glyph.bytes;
    }
    return text;
}

static void pad(wchar_t *out, size_t *n, int cells)
{
    for (int i = 0; i < cells && *n + 1 < LINE_TEXT; i++)
        out[(*n)++] = L' ';
}

void draw_text(
    struct canvas *canvas, int y, int x, int width, enum align align, enum style style, const char *text)
{
    int rows, columns;
    getmaxyx(canvas->window, rows, columns);
    width = width > columns - x ? columns - x : width;
    if (y < 0 || y >= rows || x < 0 || width <= 0)
        return;
    wchar_t line[LINE_TEXT];
    size_t n = 0;
    int cells = text_cells(canvas, text);
    const char *more = theme_glyph(canvas->theme, GLYPH_MORE);
    if (cells > width && align == ALIGN_TAIL) {
        int used = collect(canvas, more, width, line, &n);
        used += collect(canvas, tail_of(canvas, text, width - used), width - used, line, &n);
        pad(line, &n, width - used);
    } else if (cells > width) {
        int used = collect(canvas, text, width - text_cells(canvas, more), line, &n);
        used += collect(canvas, more, width - used, line, &n);
        pad(line, &n, width - used);
    } else {
        if (align == ALIGN_RIGHT)
            pad(line, &n, width - cells);
        collect(canvas, text, width, line, &n);
        if (align != ALIGN_RIGHT)
            pad(line, &n, width - cells);
    }
    set_style(canvas, style);
    mvwaddnwstr(canvas->window, y, x, line, (int)n);
    wattr_set(canvas->window, A_NORMAL, 0, NULL);
}

int draw_run(struct canvas *canvas, int y, int x, int width, enum style style, const char *text)
{
    int cells = text_cells(canvas, text);
    cells = cells > width ? width : cells;
    if (cells > 0)
        draw_text(canvas, y, x, cells, ALIGN_LEFT, style, text);
    return cells > 0 ? cells : 0;
}

int draw_format(struct canvas *canvas, int y, int x, int width, enum style style, const char *format, ...)
{
    char text[LINE_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return draw_run(canvas, y, x, width, style, text);
}

size_t text_fitting(const struct canvas *canvas, const char *text, int width)
{
    size_t n = 0, blank = 0;
    int cells = 0;
    while (text[n] != '\0') {
        struct glyph_at glyph = next_glyph(canvas, text + n);
        cells += glyph.cells;
        if (cells > width)
            return blank > 0 ? blank : n > 0 ? n : glyph.bytes;
        if (text[n] == ' ')
            blank = n;
        n += glyph.bytes;
    }
    return n;
}

int wrapped_rows(const struct canvas *canvas, const char *text, int width, int most)
{
    int rows = 0;
    for (; rows < most && *text != '\0'; rows++) {
        text += text_fitting(canvas, text, width);
        text += strspn(text, " ");
    }
    return rows;
}

int draw_wrapped(struct canvas *canvas, struct area area, enum style style, const char *text)
{
    int row = 0;
    for (; row < area.h && *text != '\0'; row++) {
        char line[LINE_TEXT];
        size_t n = text_fitting(canvas, text, area.w);
        snprintf(line, sizeof line, "%.*s", (int)n, text);
        /* The last row is too long, which shows that there is more. */
        draw_text(canvas, area.y + row, area.x, area.w, ALIGN_LEFT, style, row + 1 < area.h ? line : text);
        text += n + strspn(text + n, " ");
    }
    return row;
}

void draw_rule(struct canvas *canvas, int y, int x, int width, enum style style, const char *heading)
{
    const char *line = theme_glyph(canvas->theme, GLYPH_LINE);
    for (int i = 0; i < width; i++)
        draw_text(canvas, y, x + i, 1, ALIGN_LEFT, STYLE_RULE, line);
    if (heading[0] == '\0' || width < 6)
        return;
    int used = draw_run(canvas, y, x + 2, width - 4, style, heading);
    draw_text(canvas, y, x + 1, 1, ALIGN_LEFT, style, " ");
    draw_text(canvas, y, x + 2 + used, 1, ALIGN_LEFT, style, " ");
}

static double part(double value)
{
    return value > 0 ? fmin(value, 1.0) : 0.0; /* NaN draws nothing, too */
}

void draw_bar(struct canvas *canvas, int y, int x, int width, enum style style, double now, double before)
{
    int eighths = (int)lround(part(now) * width * 8), gone = (int)lround(part(before) * width);
    bool selected = canvas->selected;
    /* A block in reverse video is a hole: without a tint the bars of the selected row stay as they are. */
    canvas->selected = selected && canvas->theme->tinted;
    if (eighths == 0 && now > 0)
        eighths = 1;
    for (int i = 0; i < width; i++) {
        int level = eighths - 8 * i;
        level = level < 0 ? 0 : level > 8 ? 8 : level;
        if (level == 0 && i < gone)
            draw_text(canvas, y, x + i, 1, ALIGN_LEFT, STYLE_GONE, theme_glyph(canvas->theme, GLYPH_GONE));
        else
            draw_text(canvas, y, x + i, 1, ALIGN_LEFT, style, theme_bar_part(canvas->theme, level));
    }
    canvas->selected = selected;
}

/* The largest of the values that fall into cell i of `cells`. */
static double value_of_cell(const double *value, int n, int i, int cells)
{
    int first = (int)((long)i * n / cells), end = (int)((long)(i + 1) * n / cells);
    double largest = value[first];
    for (int k = first + 1; k < end; k++)
        largest = fmax(largest, value[k]);
    return largest;
}

void draw_columns(
    struct canvas *canvas, struct area area, enum style style, const double *value, int n, double top)
{
    int cells = area.w < n ? area.w : n;
    int wide = cells > 0 && area.w / cells > 1 ? 2 : 1; /* few values take two cells each */
    for (int i = 0; i < cells; i++) {
        double height = top > 0 ? part(value_of_cell(value, n, i, cells) / top) : 0;
        int eighths = (int)lround(height * area.h * 8);
        eighths = eighths == 0 ? 1 : eighths; /* a baseline shows every value */
        for (int row = 0; row < area.h; row++) {
            int level = eighths - 8 * row;
            level = level < 0 ? 0 : level > 8 ? 8 : level;
            for (int k = 0; k < wide; k++)
                draw_text(canvas, area.y + area.h - 1 - row, area.x + i * wide + k, 1, ALIGN_LEFT, style,
                    theme_column_part(canvas->theme, level));
        }
    }
}

/* One row of a column: eighths that stand on its floor, or hang from its ceiling. */
static void draw_eighths(struct canvas *canvas, struct area row, enum style style, int eighths, bool hangs)
{
    eighths = eighths < 0 ? 0 : eighths > 8 ? 8 : eighths;
    canvas->reversed = hangs && eighths > 0;
    for (int k = 0; k < row.w; k++)
        draw_text(canvas, row.y, row.x + k, 1, ALIGN_LEFT, style,
            theme_column_part(canvas->theme, canvas->reversed ? 8 - eighths : eighths));
    canvas->reversed = false;
}

void draw_signed_column(struct canvas *canvas, struct area area, enum style style, double value, double top)
{
    int upper = area.h / 2,
        room = area.h > 1 ? 8 * upper : 7; /* in one row a full block would have no direction */
    double part = top > 0 ? fmin(fabs(value) / top, 1) : 0;
    if (isnan(part) || part == 0)
        return;
    bool hangs = value < 0;
    int zero = area.h > 1 ? area.y + upper : area.y; /* the first row below the line of 0 */
    if (canvas->theme->ascii) {
        int signs = (int)ceil(part * area.w);
        for (int k = 0; k < signs; k++)
            draw_text(canvas, hangs || area.h == 1 ? zero : zero - 1, area.x + k, 1, ALIGN_LEFT, style,
                theme_glyph(canvas->theme, hangs ? GLYPH_DOWN : GLYPH_UP));
        return;
    }
    int eighths = (int)lround(part * room);
    eighths = eighths == 0 ? 1 : eighths; /* a small value still shows */
    for (int row = 0; row < (upper > 0 ? upper : 1); row++)
        draw_eighths(canvas,
            (struct area){hangs || area.h == 1 ? zero + row : zero - 1 - row, area.x, 1, area.w}, style,
            eighths - 8 * row, hangs);
}
