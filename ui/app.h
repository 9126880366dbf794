/* app.h - the state of the running screen, and what its parts (views, action handlers, frame) share. */
#ifndef QK_UI_APP_H
#define QK_UI_APP_H

#include "session/choices.h"
#include "session/evaluation.h"
#include "session/layers.h"
#include "session/needles.h"
#include "session/ranges.h"
#include "session/search.h"
#include "session/session.h"
#include "session/task.h"
#include "ui/actions.h"
#include "ui/menu.h"
#include "ui/prompt.h"
#include "ui/rows.h"
#include "ui/theme.h"
#include "ui/ui.h"

struct app;

/* Work of the main loop after an action. Handlers return these bits or'ed, and never draw. */
enum refresh {
    REFRESH_NONE = 0,
    REFRESH_DRAW = 1,
    REFRESH_ROWS = 2,   /* order or filter may have changed */
    REFRESH_SCREEN = 4, /* repaint every cell */
    REFRESH_FAILED = 8, /* the action did not happen; a message gives the reason */
    REFRESH_QUIT = 16
};

enum { SCREEN_DEPTH = 8, FOOTER_HITS = 32, MIN_ROWS = 15, MIN_COLUMNS = 60 };

struct app {
    struct qk_session *session;
    const struct qk_pair *pair;
    const struct qk_ui_options *options;
    const char *path[QK_SIDE_COUNT];
    struct theme theme;
    struct rows rows;
    bool touched; /* a key has been pressed */
    int *targets; /* room for every layer; owned */

    enum screen_id screen[SCREEN_DEPTH]; /* the last one has the keys */
    int depth;
    void *state[SCREEN_COUNT]; /* of each view, its own; owned */
    int head;                  /* selected column of the layer's heads: q's, then k's */
    int role;                  /* that mode and parameter keys act on: -1 both, QK_Q, QK_K */
    double last_param[QK_MODE_COUNT];

    char message[QK_ERROR_TEXT];
    enum style message_style;
    struct qk_lines messages; /* earlier ones too */
    struct prompt prompt;
    enum action prompt_action;
    int prompt_selected;            /* layer that was selected when the prompt opened */
    char prompt_before[MATCH_TEXT]; /* filter or search text at that time */
    struct qk_lines history[ACTION_COUNT];
    struct menu menu;
    char question[QK_ERROR_TEXT]; /* waits for y or n; "": none */
    unsigned (*answer)(struct app *app);

    struct {
        int x, width;
        enum action action;
    } hit[FOOTER_HITS]; /* actions of clicks into the footer */
    int n_hits, footer_row;
    bool pointer;
    char *offered; /* recipe of the choices left unsaved last time, or NULL; owned */
    bool taken;    /* it has been loaded */
    char *loading; /* recipe that a y to the question loads; owned */
    size_t n_set;  /* --set texts that have been applied: tests of numbers wait for these */
};

/* --- the parts of the loop --- */
/* Opens the pair app->path with app->options; the rest of *app is zero. Freed with app_free (also after a failure). */
enum qk_code app_open(struct app *app, struct qk_error *err);
void app_free(struct app *app);
/* Runs the actions of the keys from terminal_key. Discards keys typed ahead of a question. */
unsigned app_take_keys(struct app *app);
/* Takes over the results of the session's threads. */
unsigned app_take_results(struct app *app);
/* Updates the rows, draws unless `refresh` is REFRESH_NONE, and requests numbers of the visible layers. */
void app_draw(struct app *app, unsigned refresh);

/* --- the state --- */
/* The selected layer of the pair, or NULL when none is in view. */
const struct qk_pair_layer *selected_layer(const struct app *app);
/* Why the layer cannot be chosen, or NULL. */
const char *layer_obstacle(const struct qk_pair_layer *layer);
/* True when the layer keeps post's q and k. */
bool layer_kept(const struct app *app, int layer);
/* The drift of a layer of post, or of the current model; NULL while it is computed. */
const struct qk_layer_drift *model_drift(const struct app *app, int layer, bool current);

#endif
