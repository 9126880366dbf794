/* frame.h - the whole screen, as one layout and one drawing of it. */
#ifndef QK_UI_FRAME_H
#define QK_UI_FRAME_H

struct app;

/* Lays out the present frame for the terminal's size. Every frame is drawn from a finished layout. Keys also act on a
 * layout, whether or not it was drawn. */
void place_frame(struct app *app);
void draw_frame(const struct app *app);

#endif
