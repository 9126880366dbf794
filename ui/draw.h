/* draw.h - putting text, bars and plots on the screen, counted in terminal cells. */
#ifndef QK_UI_DRAW_H
#define QK_UI_DRAW_H

#include "ui/theme.h"

#include <curses.h>
#include <stddef.h>

struct area {
    int y, x, h, w;
};

/* The place and style of drawing: `selected` is set while a selected row is drawn, `underlined` while a marked text
 * is, `reversed` while a glyph stands for what it leaves free. The part with the keys leaves the cursor at its
 * place. */
struct canvas {
    WINDOW *window;
    const struct theme *theme;
    bool selected, underlined, reversed;
    int cursor_y, cursor_x;
};

enum align {
    ALIGN_LEFT,  /* cut at the end */
    ALIGN_RIGHT, /* cut at the end */
    ALIGN_TAIL,  /* to the left, cut at the start: for paths */
};

/* Cells that the text takes. Text is UTF-8; a '?' replaces characters that cannot be shown. */
int text_cells(const struct canvas *canvas, const char *text);
/* Draws text in exactly `width` cells: padded with blanks, or cut with a sign that it continues. It draws no cell
 * outside the window. No other function writes characters. */
void draw_text(
    struct canvas *canvas, int y, int x, int width, enum align align, enum style style, const char *text);
/* Draws text as wide as it is, at most `width` cells, and returns the cells used. */
int draw_run(struct canvas *canvas, int y, int x, int width, enum style style, const char *text);
int draw_format(struct canvas *canvas, int y, int x, int width, enum style style, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* Draws text over the rows of the area, broken at blanks; returns the rows used. */
int draw_wrapped(struct canvas *canvas, struct area area, enum style style, const char *text);
/* The number of rows that draw_wrapped uses, at most `most`. */
int wrapped_rows(const struct canvas *canvas, const char *text, int width, int most);
/* Bytes of the text that fit into `width` cells, cut at a blank if possible; at least one character. */
size_t text_fitting(const struct canvas *canvas, const char *text, int width);
/* A horizontal line with a heading in it. */
void draw_rule(struct canvas *canvas, int y, int x, int width, enum style style, const char *heading);

/* A bar: `now` and `before` are parts of the full width (0 to 1). Where `now` is less, the rest up to `before` is
 * drawn as removed. */
void draw_bar(struct canvas *canvas, int y, int x, int width, enum style style, double now, double before);
/* A column that grows upwards from y for a value above 0 and downwards for one below it, `cells` wide, in one row or
 * in an area of several around its middle. |value| `top` is as high as there is room for; ASCII has as many signs as
 * that. */
void draw_signed_column(struct canvas *canvas, struct area area, enum style style, double value, double top);
/* Columns that grow upwards: n values over the area, `top` at its upper edge. More values than cells: the
 * largest of those that share a cell. */
void draw_columns(
    struct canvas *canvas, struct area area, enum style style, const double *value, int n, double top);

#endif
