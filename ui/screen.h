/* screen.h - a view on the area between title and footer: what each has to do, and which of them are open. */
#ifndef QK_UI_SCREEN_H
#define QK_UI_SCREEN_H

#include "ui/actions.h"
#include "ui/draw.h"

#include "base/error.h"

#include <stdbool.h>

struct app;

/* What a view does; NULL where it has nothing to do. Its own state is app->state[SCREEN_ID], zeroed at first. */
struct screen_ops {
    size_t state_size;
    /* Before the first frame, after the pair was opened. */
    enum qk_code (*start)(struct app *app, struct qk_error *err);
    /* It came to the top: opened, or what was above it closed. */
    void (*open)(struct app *app);
    /* Decides where everything is in that area: what is scrolled how far, how lines break, where clicks go. */
    void (*place)(struct app *app, const struct canvas *canvas, struct area area);
    /* Shows what was placed, in the same area, and changes nothing. */
    void (*draw)(const struct app *app, struct canvas *canvas, struct area area);
    /* Does an action of the group "Moving". */
    void (*go)(struct app *app, enum action action);
    /* Goes to the next place of app->rows.search; false when there is none. NULL: there is no search. */
    bool (*find)(struct app *app, bool backwards);
    /* A click into the view; true when it was a second click on the same thing. */
    bool (*click)(struct app *app, int y, int x);
    /* One step back inside the view (bits of enum refresh); REFRESH_NONE: there is none, it can be closed. */
    unsigned (*back)(struct app *app);
    /* Follows what the session has found since the last call, and reports it; also of a view that is not open. */
    void (*report)(struct app *app);
    /* It was closed. */
    void (*close)(struct app *app);
    /* Frees what its state holds; also after `start` failed or did not run. */
    void (*end)(void *state);
};
#define X(id, ops) extern const struct screen_ops ops;
QK_SCREENS(X)
#undef X

/* Makes the states of all views, and starts these; screens_end is needed after a failure, too. */
enum qk_code screens_start(struct app *app, struct qk_error *err);
void screens_end(struct app *app);
void screens_report(struct app *app);

/* The view that has the keys, what it does, and its bit. */
enum screen_id top_screen(const struct app *app);
const struct screen_ops *top_ops(const struct app *app);
unsigned here(const struct app *app);
void open_screen(struct app *app, enum screen_id screen);
/* Closes the top one, unless it is the last. */
void close_screen(struct app *app);
/* For keys that open a view and close it, too. Returns bits of enum refresh. */
unsigned toggle_screen(struct app *app, enum screen_id screen);

#endif
