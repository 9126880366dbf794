/* map_view.h - every head of every layer at once, coloured by one number (map_view.c, its numbers map_metrics.c, its
 * drawing map_draw.c). */
#ifndef QK_UI_VIEWS_MAP_VIEW_H
#define QK_UI_VIEWS_MAP_VIEW_H

#include "ui/app.h"
#include "ui/format.h"

/* --- map_metrics.c --- */

/* The numbers of a layer's heads, by role; NaN: not known, or the head has none. */
struct map_heads {
    double *of[QK_ROLE_COUNT];
    int n[QK_ROLE_COUNT];
};
/* A number by which heads are coloured. */
struct map_metric {
    const char *name;  /* of ":metric" */
    const char *title; /* with its unit */
    /* Fills the numbers of post's heads, or with `current` of the current model's; they are NaN before. */
    void (*fill)(const struct app *app, const struct map_metric *metric, int layer, bool current,
        struct map_heads *to);
    const char *(*missing)(const struct app *app); /* why nothing is known yet, and the remedy; or NULL */
    bool of_drift;                                 /* it is the metric `drift` */
    enum qk_metric drift;
    bool of_layers; /* a layer has one number, which all its q heads show */
    char *(*text)(const struct map_metric *metric, double value, char out[NUMBER_TEXT]);
    const char *unit; /* behind the number; NULL: the sign of degrees */
    enum column_id
        column; /* a list that is sorted by it opens the map with this metric; COLUMN_INDEX: none */
};
int map_metric_count(void);
const struct map_metric *map_metric(int i);
/* Adds the names of all, with ", " between. */
void map_metric_names(struct qk_text *text);
/* The number with its unit. */
char *map_value_text(const struct app *app, const struct map_metric *metric, double value, char out[32]);

/* --- the view --- */

/* app->state[SCREEN_MAP]. The pointer is the selected layer and head, as in the other views. */
struct map_view {
    int metric;
    bool picked; /* by the user: opening the map leaves it */
    bool fresh;  /* the next step in the order of numbers goes to its begin */
    int *layer;  /* n layers in view that have q and k, ascending; owned, room for all */
    int n;
    int heads[QK_ROLE_COUNT]; /* columns of each role: the most heads of any layer */
    double *value;            /* (n, columns), NaN without a number; owned */
    size_t room;              /* numbers that `value` has room for */
    double top;               /* of the scale, in post and in current */
    /* Where the cells are. */
    struct area area;
    int cells, per_row;          /* cells of a head, layers of a screen row */
    int first_row, first_column; /* shown */
    int shown;                   /* columns */
    bool routing;                /* beside it */
};
enum { MAP_LABEL = 9, MAP_GAP = 2 /* between q and k */ };
/* Columns of all roles. */
int map_columns(const struct map_view *view);
/* The column of the pointer; *at: its layer's place in the view, or -1. */
int map_pointer(const struct app *app, int *at);
/* The rank of a number among all, from 1; *n: how many there are. */
int map_rank(const struct map_view *view, double value, int *n);
double map_value(const struct map_view *view, int at, int column);

/* --- map_draw.c --- */
/* Cells of a column's left edge from the first shown one's. */
int map_offset(const struct map_view *view, int column);
void draw_map(const struct app *app, struct canvas *canvas, struct area area);

#endif
