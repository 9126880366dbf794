/* layers_view.h - the layers as a list (list_draw.c, its cells NAME_columns.c) with the detail of one beside it:
 * detail_draw.c, heads_draw.c, choice_draw.c, ranges_draw.c; on the whole screen whole.h. model_line.c has the model's
 * numbers for line two. LIST and DETAIL are two views with one state. */
#ifndef QK_UI_VIEWS_LAYERS_VIEW_H
#define QK_UI_VIEWS_LAYERS_VIEW_H

#include "ui/app.h"
#include "ui/format.h"
#include "ui/screen.h"
#include "ui/views/needles.h"

#include "base/text.h"

enum panel { PANEL_LAYERS, PANEL_HEADS };
enum plot { PLOT_RANGES, PLOT_ANGLES };

/* app->state[SCREEN_LIST] */
struct layers_view {
    bool detail_shown;
    /* Where things are on the screen; h = 0: not there. */
    struct area list_area, detail_area;
    struct area heads_area; /* of the shown columns of heads */
    int head_cells;         /* width of one; 0: heads are rows */
    int first_head;         /* shown */
    enum panel panel;       /* that has the keys */
    enum plot plot;         /* what the detail shows where both have no room */
    bool show_current;      /* heads of the current model instead of post's */
    struct {
        bool asked;               /* by the user: its end is reported */
        bool started;             /* the default probe waits for the first frame */
        bool exact_failed;        /* which has been reported */
        enum qk_probe_stage seen; /* last */
    } probe;
    struct {
        bool started;               /* they wait for the probe's passes */
        bool wanted;                /* on request, with --no-needles */
        char *file;                 /* of the prompts asked for; NULL: made ones; owned */
        bool reported;              /* what the first numbers came to */
        enum qk_needles_stage seen; /* last */
    } needles;
};

/* What changes how the list is to be read, for the state line. */
void describe_list(const struct app *app, struct qk_text *text);

/* Adds the numbers of the model as a whole, as many as fit into a line of that width (model_line.c). */
void describe_model(const struct app *app, const struct canvas *canvas, int width, struct qk_text *text);

/* --- list_draw.c --- */
enum { POINTER_CELLS = 2 }; /* arrow and mark, in front of a row's number */
/* Scrolls the rows as the list would in a view of that area. */
void place_rows(struct app *app, struct area area);
void place_layers(struct app *app, const struct canvas *canvas, struct area area);
void draw_layers(const struct app *app, struct canvas *canvas, struct area area);

/* --- detail_draw.c --- */
void place_detail(struct app *app, const struct canvas *canvas, struct area area);
void draw_detail(const struct app *app, struct canvas *canvas, struct area area);

/* --- heads_draw.c --- */
/* Of the whole heat map. */
int heads_rows(const struct app *app);
/* Heads of the selected layer, q's and k's together; 0 without. */
int head_columns(const struct app *app);
/* Role and number of the selected one. */
enum qk_role selected_head(const struct app *app, int *head);
/* The hottest head of all layers: colours mean the same from layer to layer. */
double hottest(const struct app *app, enum qk_metric metric);
/* Keeps the selected head among the `shown` ones of n. */
void scroll_heads(struct app *app, int shown, int n);
void place_heads(struct app *app, struct area area);
void draw_heads(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift);
/* Principal angles of the selected head. */
void draw_spectrum(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift);
/* Selects the head at that place of the screen, if one is there. */
void click_head(struct app *app, int y, int x);

/* --- choice_draw.c --- */
void draw_choice(const struct app *app, struct canvas *canvas, struct area area);

/* --- ranges_draw.c --- */
enum { LEAST_RANGES = 5, BOTH_RANGES = 10 }; /* rows */
/* True when a layer of the pair can have ranges. */
bool any_ranges(const struct app *app);
/* Why the layer has no ranges here and now, or NULL. */
const char *range_obstacle(const struct app *app, int layer);
/* True while the layer's numbers may still come. */
bool range_waits(const struct app *app, int layer);
/* "0.105", "3e-5", "-"; returns out. */
char *shift_text(char out[NUMBER_TEXT], double shift);
/* Cells that the needle curve takes beside histograms in such a width; 0: it has no place there. */
int ranges_beside(const struct app *app, int layer, int width);
/* Histograms of the layer, and of the selected head from BOTH_RANGES rows on; LEAST_RANGES at least. */
void draw_ranges(const struct app *app, struct canvas *canvas, struct area area);
/* The query head that the selected column stands for: a key head's first one. */
int range_head(const struct app *app);

#endif
