/* theme.h - the looks of things: styles by meaning, glyphs in UTF-8 and ASCII. Drawing code names a meaning, never a
 * colour or a character. */
#ifndef QK_UI_THEME_H
#define QK_UI_THEME_H

#include "ui/ui.h"

#include <curses.h>

enum { HEAT_LEVELS = 10, WEIGHT_LEVELS = 5 };

enum style {
    STYLE_TEXT,
    STYLE_DIM, /* less important text: kept layers, layers without q and k */
    STYLE_STRONG,
    STYLE_TITLE,   /* the program's name */
    STYLE_HEADING, /* column and group headings */
    STYLE_RULE,    /* lines between panels */
    STYLE_FOCUS,   /* the heading of the panel with the keys */
    STYLE_KEY,     /* a key in the footer and in help */
    STYLE_POINTER, /* the selected row's arrow */
    STYLE_POINTED, /* the selected head among coloured ones */
    STYLE_MARK,
    STYLE_CHOICE,  /* a choice other than keep */
    STYLE_PENDING, /* a number that is being computed */
    STYLE_GOOD,
    STYLE_WARNING,
    STYLE_ERROR,
    STYLE_Q,
    STYLE_K,
    STYLE_ROUTING,
    STYLE_PRE, /* of the attention of pre, of post; current's is STYLE_CHOICE */
    STYLE_POST,
    STYLE_GONE, /* the part of a bar that a choice removes */
    STYLE_HEAT, /* and HEAT_LEVELS - 1 more: from little drift (blue) to much (yellow; on a light ground navy) */
    STYLE_WEIGHT = STYLE_HEAT + HEAT_LEVELS, /* and WEIGHT_LEVELS - 1 more: text by its attention */
    STYLE_COUNT = STYLE_WEIGHT + WEIGHT_LEVELS
};

/* What the upper or lower half of a cell shows: a level of STYLE_HEAT, or one of these. */
enum half { HALF_NONE = HEAT_LEVELS, HALF_POINTER, HALF_COUNT };

enum glyph {
    GLYPH_POINTER,
    GLYPH_MARK,
    GLYPH_RANGE,
    GLYPH_ARROW,
    GLYPH_DOT,
    GLYPH_BULLET,
    GLYPH_MORE, /* the text continues */
    GLYPH_LINE,
    GLYPH_WALL,
    GLYPH_UP,
    GLYPH_DOWN,
    GLYPH_GONE,
    GLYPH_DEGREE,
    GLYPH_SPOT, /* a place in a plot, which numbers may stand beside */
    GLYPH_TIMES,
    GLYPH_WAIT, /* a number not computed yet */
    GLYPH_AT_LEAST,
    GLYPH_PLUS_MINUS,
    GLYPH_MINUS,
    GLYPH_THEN,    /* between a number and what becomes of it */
    GLYPH_NEWLINE, /* made visible in text */
    GLYPH_TAB,
    GLYPH_COUNT
};

struct theme {
    bool ascii;
    bool color;
    bool tinted; /* the selected row has a background of its own and keeps its colours; else reverse video */
    bool direct; /* colours are 24-bit values */
    int column;  /* of the style table */
};

/* Decides colours and glyphs; curses has been started. */
void theme_start(struct theme *theme, const struct qk_ui_options *options);
/* The attributes and the colour pair of a style, in a selected row or outside. */
void theme_attributes(
    const struct theme *theme, enum style style, bool selected, attr_t *attributes, short *pair);
/* True where a cell can show two colours, one above the other. */
bool theme_has_halves(const struct theme *theme);
/* The style, and the glyph to draw in it, of a cell with these halves; theme_has_halves only. */
enum style theme_halves(enum half upper, enum half lower);
const char *theme_half_glyph(enum half upper, enum half lower);
const char *theme_glyph(const struct theme *theme, enum glyph glyph);
/* Level 0 (blank) to 8 (full) of a bar that grows to the right, or up. */
const char *theme_bar_part(const struct theme *theme, int level);
const char *theme_column_part(const struct theme *theme, int level);

#endif
