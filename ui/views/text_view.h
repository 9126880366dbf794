/* text_view.h - a page under a heading (compare_view.c, help_view.c, messages_view.c, suggest_view.c). Their states
 * begin with it. */
#ifndef QK_UI_VIEWS_TEXT_VIEW_H
#define QK_UI_VIEWS_TEXT_VIEW_H

#include "ui/app.h"
#include "ui/page.h"
#include "ui/screen.h"

/* Cells of the page's lines in that area. */
int text_width(struct area area);
/* All these act on the page of the view that has the keys. */
void open_text(struct app *app);
void place_text(struct app *app, struct area area);
void draw_text_view(const struct app *app, struct canvas *canvas, struct area area, const char *heading);
void move_text(struct app *app, enum action action);
bool find_text(struct app *app, bool backwards);
/* Frees the page of a state. */
void end_text(void *state);

#endif
