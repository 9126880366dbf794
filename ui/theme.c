/* theme.c - the table of styles (mono, 16 and 256 colours, dark and light) and the table of glyphs. */
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
 * stands for orange on a dark and red on a light ground, where yellow cannot be read. Columns: mono, 16 dark, 16
 * light, 256 dark, 256 light. */
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
    [STYLE_MARK] = {{OWN, BOLD}, {COLOR_YELLOW, BOLD}, {COLOR_MAGENTA, BOLD}, {221, BOLD}, {130, BOLD}},
    [STYLE_CHOICE] = {{OWN, BOLD}, {COLOR_GREEN, BOLD}, {COLOR_BLUE, BOLD}, {115, BOLD}, {23, BOLD}},
    [STYLE_PENDING] = {{OWN, A_DIM}, {OWN, A_DIM}, {OWN, A_DIM}, {245, PLAIN}, {243, PLAIN}},
    [STYLE_GOOD] = {{OWN, PLAIN}, {COLOR_CYAN, PLAIN}, {COLOR_BLUE, PLAIN}, {115, PLAIN}, {23, PLAIN}},
    [STYLE_WARNING] = {{OWN, BOLD}, {COLOR_YELLOW, BOLD}, {COLOR_MAGENTA, BOLD}, {221, BOLD}, {130, BOLD}},
    [STYLE_ERROR] = {{OWN, BOLD}, {COLOR_RED, BOLD}, {COLOR_RED, BOLD}, {209, BOLD}, {160, BOLD}},
    [STYLE_Q] = {{OWN, PLAIN}, {COLOR_CYAN, PLAIN}, {COLOR_CYAN, PLAIN}, {74, PLAIN}, {31, PLAIN}},
    [STYLE_K] = {{OWN, PLAIN}, {COLOR_MAGENTA, PLAIN}, {COLOR_MAGENTA, PLAIN}, {140, PLAIN}, {97, PLAIN}},
    [STYLE_ROUTING] = {{OWN, PLAIN}, {COLOR_YELLOW, PLAIN}, {COLOR_RED, PLAIN}, {208, PLAIN}, {166, PLAIN}},
    [STYLE_PRE] = {{OWN, PLAIN}, {COLOR_CYAN, PLAIN}, {COLOR_BLUE, PLAIN}, {75, PLAIN}, {25, PLAIN}},
    [STYLE_POST] = {{OWN, PLAIN}, {COLOR_YELLOW, PLAIN}, {COLOR_RED, PLAIN}, {215, PLAIN}, {130, PLAIN}},
    [STYLE_GONE] = {{OWN, A_DIM}, {OWN, A_DIM}, {OWN, A_DIM}, {240, PLAIN}, {250, PLAIN}},
    [STYLE_HEAT] = {{OWN, A_DIM}, {COLOR_CYAN, A_DIM}, {COLOR_BLUE, PLAIN}, {67, PLAIN}, {25, PLAIN}},
    [STYLE_HEAT + 1] = {{OWN, A_DIM}, {COLOR_CYAN, A_DIM}, {COLOR_BLUE, PLAIN}, {74, PLAIN}, {31, PLAIN}},
    [STYLE_HEAT + 2] = {{OWN, PLAIN}, {COLOR_CYAN, PLAIN}, {COLOR_CYAN, PLAIN}, {116, PLAIN}, {66, PLAIN}},
    [STYLE_HEAT + 3] = {{OWN, PLAIN}, {OWN, PLAIN}, {OWN, PLAIN}, {252, PLAIN}, {239, PLAIN}},
    [STYLE_HEAT + 4] = {{OWN, PLAIN}, {OWN, PLAIN}, {OWN, PLAIN}, {222, PLAIN}, {94, PLAIN}},
    [STYLE_HEAT + 5] = {{OWN, BOLD}, {COLOR_YELLOW, PLAIN}, {COLOR_RED, PLAIN}, {215, PLAIN}, {130, PLAIN}},
    [STYLE_HEAT + 6] = {{OWN, BOLD}, {COLOR_YELLOW, BOLD}, {COLOR_RED, BOLD}, {208, BOLD}, {166, BOLD}},
    [STYLE_WEIGHT] = {{OWN, A_DIM}, {OWN, A_DIM}, {OWN, A_DIM}, {243, PLAIN}, {246, PLAIN}},
    [STYLE_WEIGHT + 1] = {{OWN, PLAIN}, {OWN, PLAIN}, {OWN, PLAIN}, {252, PLAIN}, {237, PLAIN}},
    [STYLE_WEIGHT + 2] = {{OWN, BOLD}, {COLOR_YELLOW, PLAIN}, {COLOR_RED, PLAIN}, {222, PLAIN}, {94, BOLD}},
    [STYLE_WEIGHT + 3] = {{OWN, BOLD | A_UNDERLINE}, {COLOR_YELLOW, BOLD | A_UNDERLINE},
        {COLOR_RED, BOLD | A_UNDERLINE}, {215, BOLD | A_UNDERLINE}, {130, BOLD | A_UNDERLINE}},
    [STYLE_WEIGHT + 4] = {{OWN, BOLD | A_REVERSE}, {COLOR_YELLOW, A_REVERSE}, {COLOR_RED, A_REVERSE},
        {208, A_REVERSE}, {166, A_REVERSE}},
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
    [GLYPH_GONE] = {"░", "."},
    [GLYPH_DEGREE] = {"°", " deg"},
    [GLYPH_TIMES] = {"×", "x"},
    [GLYPH_WAIT] = {"…", "..."},
    [GLYPH_AT_LEAST] = {"≥", ">="},
    [GLYPH_PLUS_MINUS] = {"±", "+-"},
    [GLYPH_NEWLINE] = {"↵", "\\n"},
    [GLYPH_TAB] = {"⇥", "\\t"},
};

static const char *const BAR_PARTS[2][9] = {
    {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"},
    {" ", " ", " ", " ", "#", "#", "#", "#", "#"},
};
static const char *const COLUMN_PARTS[2][9] = {
    {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
    {" ", ".", ":", "-", "=", "+", "*", "#", "@"},
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

/* Pair of a style: 1 + style outside the selected row, STYLE_COUNT more inside. */
static void make_pairs(const struct theme *theme, short ground, short own)
{
    static_assert(2 * STYLE_COUNT < 256, "pairs are small numbers");
    short tint = theme->column == LIGHT_256 ? 254 : 236;
    for (short s = 0; s < STYLE_COUNT; s++) {
        short color = LOOKS[s][theme->column].color;
        color = color == OWN ? own : color;
        init_pair((short)(1 + s), color, ground);
        if (theme->tinted)
            init_pair((short)(1 + STYLE_COUNT + s), color, tint);
    }
}

void theme_start(struct theme *theme, const struct qk_ui_options *options)
{
    *theme = (struct theme){.ascii = options->ascii || strcmp(nl_langinfo(CODESET), "UTF-8") != 0};
    if (!wants_color(options->color) || !has_colors() || start_color() == ERR || COLORS < 8)
        return;
    bool light = light_ground(options->theme), deep = COLORS >= 256 && COLOR_PAIRS > 2 * STYLE_COUNT;
    theme->color = true;
    theme->column = deep ? (light ? LIGHT_256 : DARK_256) : (light ? LIGHT_16 : DARK_16);
    theme->tinted = deep;
    if (use_default_colors() == OK)
        make_pairs(theme, -1, -1);
    else
        make_pairs(theme, light ? COLOR_WHITE : COLOR_BLACK, light ? COLOR_BLACK : COLOR_WHITE);
}

void theme_attributes(
    const struct theme *theme, enum style style, bool selected, attr_t *attributes, short *pair)
{
    *attributes = LOOKS[style][theme->column].attributes;
    *pair = theme->color ? (short)(1 + style) : 0;
    if (selected && theme->tinted)
        *pair = (short)(*pair + STYLE_COUNT);
    else if (selected) { /* in the text's own colour: reversed colours would look like patches */
        *attributes = A_REVERSE | (*attributes & A_BOLD);
        *pair = theme->color ? 1 + STYLE_TEXT : 0;
    }
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
