/* screen.h - a view on the area between title and footer: what each has to do, and which of them are open. */
#ifndef QK_UI_SCREEN_H
#define QK_UI_SCREEN_H

#include "ui/actions.h"
#include "ui/draw.h"

#include "base/error.h"

#include <stdbool.h>

struct app;

/* The functions of a view; NULL: it has none. Its own state is app->state[SCREEN_ID], zeroed at first. */
struct screen_ops {
    size_t state_size;
    /* Called before the first frame, after the pair was opened. */
    enum qk_code (*start)(struct app *app, struct qk_error *err);
    /* Called when it comes to the top: it was opened, or the view above was closed. */
    void (*open)(struct app *app);
    /* Lays everything out in that area: scrolling, line breaks, targets of clicks. */
    void (*place)(struct app *app, const struct canvas *canvas, struct area area);
    /* Draws that layout in the same area, and changes nothing. */
    void (*draw)(const struct app *app, struct canvas *canvas, struct area area);
    /* Does an action of the group "Moving". */
    void (*go)(struct app *app, enum action action);
    /* Goes to the next place of app->rows.search; false without one. NULL: no search in this view. */
    bool (*find)(struct app *app, bool backwards);
    /* A click into the view; true when it was a second click on the same thing. */
    bool (*click)(struct app *app, int y, int x);
    /* Goes one step back inside the view (bits of enum refresh); REFRESH_NONE: no step, it can close. */
    unsigned (*back)(struct app *app);
    /* Reports new results of the session since the last call; also for a view that is not open. */
    void (*report)(struct app *app);
    /* Called when it was closed. */
    void (*close)(struct app *app);
    /* Frees the contents of its state; also after `start` failed or did not run. */
    void (*end)(void *state);
};
#define X(id, ops) extern const struct screen_ops ops;
QK_SCREENS(X)
#undef X

/* Makes the states of all views, and starts these; screens_end is needed after a failure, too. */
enum qk_code screens_start(struct app *app, struct qk_error *err);
void screens_end(struct app *app);
void screens_report(struct app *app);

/* The view with the keys, its functions, and its bit. */
enum screen_id top_screen(const struct app *app);
const struct screen_ops *top_ops(const struct app *app);
unsigned here(const struct app *app);
void open_screen(struct app *app, enum screen_id screen);
/* Closes the top one, unless it is the last. */
void close_screen(struct app *app);
/* For keys that open a view and close it, too. Returns bits of enum refresh. */
unsigned toggle_screen(struct app *app, enum screen_id screen);

#endif
