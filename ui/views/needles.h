/* needles.h - needle masses on the screen: their passes (needles.c) and their part of the detail (needle_draw.c). */
#ifndef QK_UI_VIEWS_NEEDLES_H
#define QK_UI_VIEWS_NEEDLES_H

#include "session/needles.h"
#include "ui/draw.h"

#include <stdbool.h>

struct app;

/* Starts the passes once those of the probe text have ended. */
void needles_start(struct app *app);
/* Starts them again behind the next pass over the probe text. */
void needles_again(struct app *app);
/* True from the start of the screen until the passes begin; false when they begin on request alone. */
bool needles_awaited(const struct app *app);
/* True while the prompts pass through a model. */
bool needles_busy(const struct app *app);
/* Reports their end since the last call. With the first numbers the list gets its order by drop, unless the user has
 * given it one. */
void needles_report(struct app *app);
/* "needles 40 %", for the state of the work; false when none is running. */
bool needles_state(const struct app *app, char out[96]);

/* A mass or drop of a head; current: post where nothing is chosen. NaN: not known. */
enum needle_value { NEEDLE_NOW, NEEDLE_POST, NEEDLE_DROP, NEEDLE_PRE, NEEDLE_VALUES };
double needle_value(const struct qk_session_needle *needle, enum needle_value which, int head);
/* --- needle_draw.c --- */
enum { NEEDLE_ROWS = 5 }; /* of the part by itself: heading, axis and three lines */
/* Cells of the curve beside histograms of attention ranges; 0: no numbers of the layer. */
int needle_beside_cells(const struct app *app, int layer);
/* The curve of a head beside them: its rows are those of the axis and of three lines. */
void draw_needle_beside(const struct app *app, struct canvas *canvas, struct area area, int layer, int head);
/* The curve by itself, with a heading. */
void draw_needle(const struct app *app, struct canvas *canvas, struct area area, int layer, int head);

#endif
