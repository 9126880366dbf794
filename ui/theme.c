/* theme.c - the table of styles (mono, 16, 256 and 24-bit colours, dark and light) and the table of glyphs. */
#include "ui/theme.h"

#include <assert.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>

enum column { MONO, DARK_16, LIGHT_16, DARK_256, LIGHT_256, COLUMNS };

struct look {
    short color; /* foreground; -1: the terminal's own */
    attr_t attributes;
};

#define BOLD A_BOLD
#define PLAIN 0
#define OWN (-1)

/* Sixteen colours are the eight of every terminal, plain and bold. Blue to orange, never red against green; yellow
 * stands for orange on a dark and red on a light ground, where yellow cannot be read. With 256, roles and sides have
 * hues of Okabe and Ito (2008), and the ramp of STYLE_HEAT is the nearest to cividis (Nunez, Anderton and Renslow
 * 2018) whose lightness rises with each level, or falls on a light ground. Columns: mono, 16 dark, 16 light, 256 dark,
 * 256 light. */
static const struct look LOOKS[STYLE_COUNT][COLUMNS] = {
    [STYLE_TEXT] = {{OWN, PLAIN}, {OWN, PLAIN}, {OWN, PLAIN}, {OWN, PLAIN}, {OWN, PLAIN}},
    [STYLE_DIM] = {{OWN, A_DIM}, {OWN, A_DIM}, {OWN, A_DIM}, {245, PLAIN}, {243, PLAIN}},
    [STYLE_STRONG] = {{OWN, BOLD}, {OWN, BOLD}, {OWN, BOLD}, {OWN, BOLD}, {OWN, BOLD}},
    [STYLE_TITLE] = {{OWN, BOLD}, {COLOR_CYAN, BOLD}, {COLOR_BLUE, BOLD}, {80, BOLD}, {24, BOLD}},
    [STYLE_HEADING] = {{OWN, PLAIN}, {COLOR_CYAN, PLAIN}, {COLOR_BLUE, PLAIN}, {109, PLAIN}, {24, PLAIN}},
    [STYLE_RULE] = {{OWN, A_DIM}, {OWN, A_DIM}, {OWN, A_DIM}, {240, PLAIN}, {248, PLAIN}},
    [STYLE_FOCUS] = {{OWN, BOLD}, {OWN, BOLD}, {OWN, BOLD}, {80, BOLD}, {24, BOLD}},
    [STYLE_KEY] = {{OWN, BOLD}, {COLOR_CYAN, BOLD}, {COLOR_BLUE, BOLD}, {80, BOLD}, {25, BOLD}},
    [STYLE_POINTER] = {{OWN, BOLD}, {COLOR_YELLOW, BOLD}, {COLOR_RED, BOLD}, {215, BOLD}, {166, BOLD}},
    [STYLE_POINTED] = {{OWN, A_REVERSE}, {OWN, A_REVERSE}, {OWN, A_REVERSE}, {201, PLAIN}, {199, PLAIN}},
    [STYLE_MARK] = {{OWN, BOLD}, {COLOR_YELLOW, BOLD}, {COLOR_MAGENTA, BOLD}, {221, BOLD}, {130, BOLD}},
    [STYLE_CHOICE] = {{OWN, BOLD}, {COLOR_GREEN, BOLD}, {COLOR_BLUE, BOLD}, {115, BOLD}, {23, BOLD}},
    [STYLE_PENDING] = {{OWN, A_DIM}, {OWN, A_DIM}, {OWN, A_DIM}, {245, PLAIN}, {243, PLAIN}},
    [STYLE_GOOD] = {{OWN, PLAIN}, {COLOR_CYAN, PLAIN}, {COLOR_BLUE, PLAIN}, {115, PLAIN}, {23, PLAIN}},
    [STYLE_WARNING] = {{OWN, BOLD}, {COLOR_YELLOW, BOLD}, {COLOR_MAGENTA, BOLD}, {221, BOLD}, {130, BOLD}},
    [STYLE_ERROR] = {{OWN, BOLD}, {COLOR_RED, BOLD}, {COLOR_RED, BOLD}, {209, BOLD}, {160, BOLD}},
    [STYLE_Q] = {{OWN, PLAIN}, {COLOR_CYAN, PLAIN}, {COLOR_CYAN, PLAIN}, {74, PLAIN}, {31, PLAIN}},
    [STYLE_K] = {{OWN, PLAIN}, {COLOR_MAGENTA, PLAIN}, {COLOR_MAGENTA, PLAIN}, {175, PLAIN}, {132, PLAIN}},
    [STYLE_ROUTING] = {{OWN, PLAIN}, {COLOR_YELLOW, PLAIN}, {COLOR_RED, PLAIN}, {166, PLAIN}, {166, PLAIN}},
    [STYLE_PRE] = {{OWN, PLAIN}, {COLOR_CYAN, PLAIN}, {COLOR_BLUE, PLAIN}, {33, PLAIN}, {25, PLAIN}},
    [STYLE_POST] = {{OWN, PLAIN}, {COLOR_YELLOW, PLAIN}, {COLOR_RED, PLAIN}, {214, PLAIN}, {130, PLAIN}},
    [STYLE_GONE] = {{OWN, A_DIM}, {OWN, A_DIM}, {OWN, A_DIM}, {240, PLAIN}, {250, PLAIN}},
    [STYLE_HEAT] = {{OWN, A_DIM}, {COLOR_CYAN, A_DIM}, {COLOR_BLUE, PLAIN}, {25, PLAIN}, {137, PLAIN}},
    [STYLE_HEAT + 1] = {{OWN, A_DIM}, {COLOR_CYAN, A_DIM}, {COLOR_BLUE, PLAIN}, {61, PLAIN}, {101, PLAIN}},
    [STYLE_HEAT + 2] = {{OWN, A_DIM}, {COLOR_CYAN, A_DIM}, {COLOR_BLUE, PLAIN}, {67, PLAIN}, {243, PLAIN}},
    [STYLE_HEAT + 3] = {{OWN, PLAIN}, {COLOR_CYAN, PLAIN}, {COLOR_CYAN, PLAIN}, {103, PLAIN}, {242, PLAIN}},
    [STYLE_HEAT + 4] = {{OWN, PLAIN}, {OWN, PLAIN}, {OWN, PLAIN}, {247, PLAIN}, {60, PLAIN}},
    [STYLE_HEAT + 5] = {{OWN, PLAIN}, {OWN, PLAIN}, {OWN, PLAIN}, {144, PLAIN}, {25, PLAIN}},
    [STYLE_HEAT + 6] = {{OWN, PLAIN}, {OWN, PLAIN}, {OWN, PLAIN}, {179, PLAIN}, {24, PLAIN}},
    [STYLE_HEAT + 7] = {{OWN, BOLD}, {COLOR_YELLOW, PLAIN}, {COLOR_RED, PLAIN}, {185, PLAIN}, {19, PLAIN}},
    [STYLE_HEAT + 8] = {{OWN, BOLD}, {COLOR_YELLOW, PLAIN}, {COLOR_RED, PLAIN}, {221, PLAIN}, {18, PLAIN}},
    [STYLE_HEAT + 9] = {{OWN, BOLD}, {COLOR_YELLOW, BOLD}, {COLOR_RED, BOLD}, {227, PLAIN}, {17, PLAIN}},
    [STYLE_WEIGHT] = {{OWN, A_DIM}, {OWN, A_DIM}, {OWN, A_DIM}, {243, PLAIN}, {246, PLAIN}},
    [STYLE_WEIGHT + 1] = {{OWN, PLAIN}, {OWN, PLAIN}, {OWN, PLAIN}, {252, PLAIN}, {237, PLAIN}},
    [STYLE_WEIGHT + 2] = {{OWN, BOLD}, {COLOR_YELLOW, PLAIN}, {COLOR_RED, PLAIN}, {222, PLAIN}, {94, BOLD}},
    [STYLE_WEIGHT + 3] = {{OWN, BOLD | A_UNDERLINE}, {COLOR_YELLOW, BOLD | A_UNDERLINE},
        {COLOR_RED, BOLD | A_UNDERLINE}, {215, BOLD | A_UNDERLINE}, {130, BOLD | A_UNDERLINE}},
    [STYLE_WEIGHT + 4] = {{OWN, BOLD | A_REVERSE}, {COLOR_YELLOW, A_REVERSE}, {COLOR_RED, A_REVERSE},
        {208, A_REVERSE}, {166, A_REVERSE}},
};

/* The colours of 24 bits, where they are more than the 256 have: the hues and the ramp themselves. Dark and light
 * ground; 0: as with 256. */
static const int EXACT[STYLE_COUNT][2] = {
    [STYLE_Q] = {0x56b4e9, 0x0072b2},
    [STYLE_K] = {0xcc79a7, 0xa85585},
    [STYLE_ROUTING] = {0xd55e00, 0xd55e00},
    [STYLE_PRE] = {0x2f8fd0, 0x0072b2},
    [STYLE_POST] = {0xe69f00, 0xa87400},
    [STYLE_HEAT] = {0x193b6d, 0x948f78},
    [STYLE_HEAT + 1] = {0x3a4c6e, 0x868276},
    [STYLE_HEAT + 2] = {0x585d6e, 0x787573},
    [STYLE_HEAT + 3] = {0x716f71, 0x696970},
    [STYLE_HEAT + 4] = {0x858176, 0x575c6e},
    [STYLE_HEAT + 5] = {0x999478, 0x42506e},
    [STYLE_HEAT + 6] = {0xb1a774, 0x2b446e},
    [STYLE_HEAT + 7] = {0xcebc68, 0x14386d},
    [STYLE_HEAT + 8] = {0xebd355, 0x022c65},
    [STYLE_HEAT + 9] = {0xfdea45, 0x002051},
};

static const char *const GLYPHS[GLYPH_COUNT][2] = {
    [GLYPH_POINTER] = {"▶", ">"},
    [GLYPH_MARK] = {"◆", "*"},
    [GLYPH_RANGE] = {"│", "|"},
    [GLYPH_ARROW] = {"→", "->"},
    [GLYPH_DOT] = {"·", "-"},
    [GLYPH_BULLET] = {"●", "*"},
    [GLYPH_MORE] = {"…", "..."}, /* "~" before the end of a path would be the home folder */
    [GLYPH_LINE] = {"─", "-"},
    [GLYPH_WALL] = {"│", "|"},
    [GLYPH_UP] = {"▲", "^"},
    [GLYPH_DOWN] = {"▼", "v"},
    [GLYPH_GONE] = {"░", "~"},
    [GLYPH_DEGREE] = {"°", " deg"},
    [GLYPH_SPOT] = {"·", "x"},
    [GLYPH_TIMES] = {"×", "x"},
    [GLYPH_WAIT] = {"…", "..."},
    [GLYPH_AT_LEAST] = {"≥", ">="},
    [GLYPH_PLUS_MINUS] = {"±", "+-"},
    [GLYPH_MINUS] = {"−", "-"},
    [GLYPH_THEN] = {"▸", ">"},
    [GLYPH_NEWLINE] = {"↵", "\\n"},
    [GLYPH_TAB] = {"⇥", "\\t"},
};

static const char *const BAR_PARTS[2][9] = {
    {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"},
    {" ", " ", " ", " ", "#", "#", "#", "#", "#"},
};
static const char *const COLUMN_PARTS[2][9] = {
    {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
    {" ", "_", "~", "\"", "=", "*", "&", "#", "@"}, /* none can be read as a part of the number behind it */
};

/* COLORFGBG is "FOREGROUND;BACKGROUND" (some terminals put a word between them). */
static bool light_ground(enum qk_theme theme)
{
    if (theme != QK_THEME_AUTO)
        return theme == QK_THEME_LIGHT;
    const char *colors = getenv("COLORFGBG");
    const char *ground = colors != NULL ? strrchr(colors, ';') : NULL;
    return ground != NULL && (strcmp(ground, ";7") == 0 || strcmp(ground, ";15") == 0);
}

static bool wants_color(enum qk_color color)
{
    const char *no_color = getenv("NO_COLOR");
    return color == QK_COLOR_ALWAYS || (color == QK_COLOR_AUTO && (no_color == NULL || no_color[0] == '\0'));
}

/* The 24 bits of one of 256 colours: a cube of six levels, then greys. */
static int bits_of(short color)
{
    static const int LEVELS[] = {0, 0x5f, 0x87, 0xaf, 0xd7, 0xff};
    enum { CUBE = 16, GREYS = 232, LEAST_GREY = 8, GREY_STEP = 10 };
    if (color >= GREYS)
        return 0x010101 * (LEAST_GREY + GREY_STEP * (color - GREYS));
    return LEVELS[(color - CUBE) / 36] << 16 | LEVELS[(color - CUBE) / 6 % 6] << 8 |
           LEVELS[(color - CUBE) % 6];
}

static int color_of(const struct theme *theme, enum style style, int own)
{
    short color = LOOKS[style][theme->column].color;
    if (color == OWN || !theme->direct)
        return color == OWN ? own : color;
    int exact = EXACT[style][theme->column == LIGHT_256];
    return exact != 0 ? exact : bits_of(color);
}

/* Pair of a style: 1 + style outside the selected row, STYLE_COUNT more inside; behind these those of halves. */
enum { FIRST_HALVES = 1 + 2 * STYLE_COUNT, PAIRS = FIRST_HALVES + HALF_COUNT * HALF_COUNT };

static void make_halves(const struct theme *theme, int ground, int own)
{
    int color[HALF_COUNT];
    for (int i = 0; i < HALF_COUNT; i++)
        color[i] = i == HALF_NONE      ? ground
                   : i == HALF_POINTER ? color_of(theme, STYLE_POINTED, own)
                                       : color_of(theme, (enum style)(STYLE_HEAT + i), own);
    for (int i = 0; i < HALF_COUNT * HALF_COUNT; i++) { /* the lower block where the upper half is empty */
        int upper = i / HALF_COUNT, lower = i % HALF_COUNT;
        bool below = upper == HALF_NONE;
        init_extended_pair(FIRST_HALVES + i, color[below ? lower : upper], below ? ground : color[lower]);
    }
}

static void make_pairs(const struct theme *theme, int ground, int own)
{
    static_assert(PAIRS <= 256, "pairs are small numbers");
    short tint = theme->column == LIGHT_256 ? 254 : 236;
    for (int s = 0; s < STYLE_COUNT; s++) {
        int color = color_of(theme, (enum style)s, own);
        init_extended_pair(1 + s, color, ground);
        if (theme->tinted)
            init_extended_pair(1 + STYLE_COUNT + s, color, theme->direct ? bits_of(tint) : tint);
    }
    if (theme->tinted)
        make_halves(theme, ground, own);
}

void theme_start(struct theme *theme, const struct qk_ui_options *options)
{
    enum { DIRECT_COLORS = 1 << 24 };
    *theme = (struct theme){.ascii = options->ascii || strcmp(nl_langinfo(CODESET), "UTF-8") != 0};
    if (!wants_color(options->color) || !has_colors() || start_color() == ERR || COLORS < 8)
        return;
    bool light = light_ground(options->theme), deep = COLORS >= 256 && COLOR_PAIRS >= PAIRS;
    theme->color = true;
    theme->column = deep ? (light ? LIGHT_256 : DARK_256) : (light ? LIGHT_16 : DARK_16);
    theme->tinted = deep;
    theme->direct = deep && COLORS >= DIRECT_COLORS;
    if (use_default_colors() == OK)
        make_pairs(theme, -1, -1);
    else
        make_pairs(theme, light ? COLOR_WHITE : COLOR_BLACK, light ? COLOR_BLACK : COLOR_WHITE);
}

void theme_attributes(
    const struct theme *theme, enum style style, bool selected, attr_t *attributes, short *pair)
{
    if (style >= STYLE_COUNT) { /* of theme_halves */
        *attributes = A_NORMAL;
        *pair = (short)(FIRST_HALVES + (int)style - STYLE_COUNT);
        return;
    }
    *attributes = LOOKS[style][theme->column].attributes;
    *pair = theme->color ? (short)(1 + style) : 0;
    if (selected && theme->tinted)
        *pair = (short)(*pair + STYLE_COUNT);
    else if (selected) { /* in the text's own colour: reversed colours would look like patches */
        *attributes = A_REVERSE | (*attributes & A_BOLD);
        *pair = theme->color ? 1 + STYLE_TEXT : 0;
    }
}

bool theme_has_halves(const struct theme *theme)
{
    return theme->tinted && !theme->ascii;
}

enum style theme_halves(enum half upper, enum half lower)
{
    return (enum style)(STYLE_COUNT + (int)upper * HALF_COUNT + (int)lower);
}

const char *theme_half_glyph(enum half upper, enum half lower)
{
    return upper != HALF_NONE ? "▀" : lower != HALF_NONE ? "▄" : " ";
}

const char *theme_glyph(const struct theme *theme, enum glyph glyph)
{
    return GLYPHS[glyph][theme->ascii];
}

const char *theme_bar_part(const struct theme *theme, int level)
{
    return BAR_PARTS[theme->ascii][level];
}

const char *theme_column_part(const struct theme *theme, int level)
{
    return COLUMN_PARTS[theme->ascii][level];
}
