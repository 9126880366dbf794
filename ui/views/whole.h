/* whole.h - a layer on the whole screen: its parts (whole_draw.c), and its heads as rows (head_rows.c). */
#ifndef QK_UI_VIEWS_WHOLE_H
#define QK_UI_VIEWS_WHOLE_H

#include "drift/drift.h"
#include "ui/draw.h"

struct app;

/* --- whole_draw.c --- */
void place_whole_layer(struct app *app, struct area area);
void draw_whole_layer(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift);

/* --- head_rows.c --- */
/* The heads from the first shown one on, one a row below a heading. */
void place_head_rows(struct app *app, struct area area);
void draw_head_rows(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift);
/* Rows that the spectra of all heads take of that room; 0: it is too small. */
int spectra_rows(const struct app *app, int width, int height);
void draw_spectra(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift);

#endif
