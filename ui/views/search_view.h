/* search_view.h - the search for selections, in the lower part of the evaluation: its state and actions (search_view.c)
 * and drawing (search_draw.c). */
#ifndef QK_UI_VIEWS_SEARCH_VIEW_H
#define QK_UI_VIEWS_SEARCH_VIEW_H

#include "ui/app.h"
#include "ui/draw.h"

struct search_view {
    int point;                 /* of the front, from 0 */
    char *selection;           /* its; owned */
    int first_point;           /* shown in the list */
    enum qk_search_stage seen; /* at the last report */
};

struct search_view *search_of(const struct app *app);
/* Follows the selected point to its present place, and reports the end of a search since the last call. */
void report_search(struct app *app);
/* The progress of a search, and its front as plot and list. */
void place_search(struct app *app, const struct canvas *canvas, struct area area);
void draw_search(const struct app *app, struct canvas *canvas, struct area area);
/* "searching 3:05 of 10:00"; empty without a running search. */
void search_state(const struct app *app, char out[96]);
/* The way to cut names of objectives: tasks differ at their ends, files at their beginnings. */
enum align objective_align(const struct app *app);

#endif
