/* frame.h - the whole screen, as one layout and one drawing of it. */
#ifndef QK_UI_FRAME_H
#define QK_UI_FRAME_H

struct app;

/* Lays out what a frame of the terminal's size shows now. Every frame is drawn from one layout, made before anything
 * of it is drawn, and keys act on one, whether or not it came to be drawn. */
void place_frame(struct app *app);
void draw_frame(const struct app *app);

#endif
