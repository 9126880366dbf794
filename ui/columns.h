/* columns.h - the columns of the layer list: what each shows and sorts by, and which of them a list has room for. */
#ifndef QK_UI_COLUMNS_H
#define QK_UI_COLUMNS_H

#include "drift/drift.h"
#include "session/ranges.h"
#include "ui/column_list.h"
#include "ui/draw.h"

#include <stdbool.h>

struct app;
struct column;
struct qk_session;

#define X(id, ...) COLUMN_##id,
enum column_id { QK_COLUMNS(X, X) COLUMN_COUNT };
#undef X

/* Where and what to draw. */
struct cell {
    struct area area; /* one row high; as wide as the column, without the gap behind it */
    const struct column *column;
    int row, layer; /* place among the rows, and number; -1 in the heading */
    double scale;   /* of the column: the value of a full bar */
};

/* The number by which the layer is sorted; NaN: not known, which puts it at the end. */
typedef double column_value(const struct column *column, const struct qk_session *session, int layer);
typedef void column_draw(const struct app *app, struct canvas *canvas, const struct cell *cell);
/* `arrow` shows the order; "" in a list that is not sorted by this column. */
typedef void column_heading(const struct app *app, struct canvas *canvas, const struct cell *cell,
    enum style style, const char *arrow);
/* How often the column's cells are there; 0: there is nothing to show. */
typedef int column_count(const struct app *app);
/* The cells that a column uses of so many. */
typedef int column_fit(int cells);
typedef double column_scale(const struct app *app, const struct column *column);

/* When a cell is drawn. Where a layer has no numbers, a note why stands in place of CELL_NEEDS_DRIFT. */
enum cell_needs { CELL_NEEDS_NOTHING, CELL_NEEDS_QK, CELL_NEEDS_DRIFT };
enum { COLUMN_SIZES = 4 };

struct column {
    const char *name; /* of ":sort", NULL: rows cannot be sorted by it */
    column_value *value;
    int key;        /* of the menu of orders */
    bool ascending; /* the smallest value comes first, else the largest */

    const char *heading, *tight_heading;
    column_heading *draw_heading; /* NULL: heading and arrow */
    column_draw *draw;
    enum cell_needs needs;
    column_scale *scale;   /* NULL: without bars */
    enum qk_metric metric; /* for columns of a metric, as is role: -1 for the stronger of q and k */
    int role;
    enum style style;

    /* From lists of so many cells on the column has that width. Rising; below the first one it is not there. */
    struct {
        int from, cells;
    } size[COLUMN_SIZES];
    int gap;             /* cells behind it */
    bool frozen;         /* stands on the left, before those that are not */
    column_count *count; /* NULL: once */
    column_fit *fit;     /* what is left is shared by the columns with this; NULL: it has its size */
    /* Beside that column its sizes count the list without it, which must have `beside` cells. COLUMN_INDEX: none. */
    enum column_id yields_to;
    int beside;
    /* Where it has no place of its own, a list sorted by it shows it in that one's. COLUMN_INDEX: any that has room. */
    enum column_id instead_of;
};
const struct column *column_of(enum column_id id);
/* *id = the column of this name of ":sort"; false when no column has it. */
bool column_parse(const char *name, enum column_id *id);

/* The columns of a list from left to right. */
struct placed_columns {
    struct {
        const struct column *column;
        int x, cells;
    } at[COLUMN_COUNT];
    int n;
    int note_x, note_cells; /* place of those of CELL_NEEDS_DRIFT */
};
/* Fills count by column_id. */
void columns_count(const struct app *app, int count[COLUMN_COUNT]);
/* The columns that a list of so many cells has room for, when each could be there `count` times. */
/* The column at cell x of them, or COLUMN_COUNT. */
enum column_id column_at(const struct placed_columns *placed, int x);
struct placed_columns columns_place(int width, const int count[COLUMN_COUNT], enum column_id sort);

/* --- the functions of the table; views/NAME_columns.c has them --- */
#define SORTED(id, name, value, draw, ...)                                                                   \
    column_value value;                                                                                      \
    column_draw draw;
#define UNSORTED(id, draw, ...) column_draw draw;
QK_COLUMNS(SORTED, UNSORTED)
#undef SORTED
#undef UNSORTED
column_heading heading_metric, heading_reach, heading_effects, heading_choice;
column_count count_ranges, count_needles, count_effects;
column_fit fit_metric;
column_scale metric_scale;
/* Widths of the reach: without current's number, with it in place of post's, with all. */
enum { TIGHT_REACH = 9, NARROW_REACH = 11, ROOMY_REACH = 16 };
enum { EFFECT_CELLS = 7 }; /* of each effect, with the one behind it */

/* Draws what stands in the place of a number: a mark while it may still come, else "-". */
void draw_no_number(
    const struct app *app, struct canvas *canvas, struct area area, enum align align, bool waits);
/* The style of a cell whose last number is the current model's, and the mark in the place of that number. */
enum style current_style(enum qk_current_range current);
const char *current_mark(const struct app *app, enum qk_current_range current);

#endif
