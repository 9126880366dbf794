/* app.h - the state of the running screen, and what its parts (views, action handlers, frame) share. */
#ifndef QK_UI_APP_H
#define QK_UI_APP_H

#include "session/choices.h"
#include "session/evaluation.h"
#include "session/layers.h"
#include "session/ranges.h"
#include "session/search.h"
#include "session/session.h"
#include "session/task.h"
#include "ui/actions.h"
#include "ui/draw.h"
#include "ui/page.h"
#include "ui/prompt.h"
#include "ui/rows.h"
#include "ui/theme.h"
#include "ui/ui.h"

struct app;

/* What the main loop has to do after an action; handlers return them or'ed, they never draw. */
enum refresh {
    REFRESH_NONE = 0,
    REFRESH_DRAW = 1,
    REFRESH_ROWS = 2,   /* order or filter may have changed */
    REFRESH_SCREEN = 4, /* repaint every cell */
    REFRESH_FAILED = 8, /* the action did not happen; a message says why */
    REFRESH_QUIT = 16
};

/* A view on the whole area between title and footer. */
struct screen_ops {
    unsigned where; /* its bit of actions.h */
    /* Decides where everything is in that area: what is scrolled how far, how lines break, where clicks go.
     */
    void (*place)(struct app *app, const struct canvas *canvas, struct area area);
    /* Shows what was placed, in the same area, and changes nothing. */
    void (*draw)(const struct app *app, struct canvas *canvas, struct area area);
    void (*go)(struct app *app, enum action action);
    /* Goes to the next place of app->rows.search; false when there is none. NULL: there is no search. */
    bool (*find)(struct app *app, bool backwards);
    /* A click into the view; true when it was a second click on the same thing. NULL: nothing to click. */
    bool (*click)(struct app *app, int y, int x);
};
extern const struct screen_ops list_screen, detail_screen, attention_screen, eval_screen, export_screen,
    help_screen, messages_screen;

enum panel { PANEL_LAYERS, PANEL_HEADS };
enum plot { PLOT_RANGES, PLOT_ANGLES };
enum { SCREEN_DEPTH = 8, FOOTER_HITS = 32, MIN_ROWS = 15, MIN_COLUMNS = 60 };

/* The export view: options and the manifest made of them. */
struct export_view {
    char *target;
    bool force, link, patch_only;
    bool has_manifest; /* manifest is filled and the export can be done */
    struct qk_export_manifest manifest;
    struct qk_error refused; /* why not */
    struct area manifest_area, task_area;
    struct page changes;
    bool stale;      /* `changes` has to be made again */
    bool told;       /* the end of the last task has been told in a message */
    bool shows_task; /* what became of the last task is shown, until the manifest becomes another one */
    bool exported;   /* there is an export at the target: it can be verified */
    bool offered;    /* to remove what killed exports left beside the target: asked once */
};

/* The view of attention on the probe text. */
struct attention_view {
    size_t query;
    enum qk_range_side side; /* whose weights shade the text */
    const int32_t *ids;      /* the probe that query and lines belong to */
    size_t n_ids;
    size_t *line; /* first token of each line, wrapped for `width` cells; owned */
    size_t n_lines, capacity;
    int width, height, listed; /* cells and rows of the text, rows of the strongest */
};

/* The view of right answers. */
struct eval_view {
    int top, height;           /* first task shown, and how many */
    int point;                 /* of the front, from 0 */
    char *selection;           /* its; owned */
    int first_point;           /* in the list */
    enum qk_search_stage told; /* the stage that was seen last */
};

struct app {
    struct qk_session *session;
    const struct qk_pair *pair;
    const struct qk_ui_options *options;
    const char *path[QK_SIDE_COUNT];
    struct theme theme;
    struct rows rows;
    int *targets; /* room for every layer; owned */

    const struct screen_ops *screen[SCREEN_DEPTH]; /* the last one has the keys */
    int depth;
    bool detail_shown;
    /* Where things are on the screen: decided by place_frame and nowhere else, h = 0: not there. */
    struct area list_area, detail_area;
    struct area heads_area; /* of the shown columns of heads */
    int head_cells;         /* width of one */
    enum panel panel;
    int role; /* that mode and parameter keys act on: -1 both, QK_Q, QK_K */
    int head; /* selected column of the heads: q's, then k's */
    int first_head;
    bool show_current; /* heads of the current model instead of post's */
    double last_param[QK_MODE_COUNT];

    char message[QK_ERROR_TEXT];
    enum style message_style;
    struct qk_lines messages; /* earlier ones too */
    struct prompt prompt;
    enum action prompt_action;
    int prompt_selected;            /* layer that was selected when the prompt opened */
    char prompt_before[MATCH_TEXT]; /* filter or search text at that time */
    struct qk_lines history[ACTION_COUNT];
    char question[QK_ERROR_TEXT]; /* "" or what waits for y or n */
    unsigned (*answer)(struct app *app);

    struct page help, message_page;
    struct export_view export;
    struct attention_view attention;
    struct eval_view eval;
    enum plot plot;                 /* what the detail shows where both have no room */
    bool probe_asked;               /* by the user: its end is told */
    bool probe_started;             /* the default probe waits for the first frame */
    bool exact_told;                /* the failure of the last exact run */
    enum qk_probe_stage probe_told; /* the stage that was seen last */
    struct {
        int x, width;
        enum action action;
    } hit[FOOTER_HITS]; /* what a click into the footer means */
    int n_hits, footer_row;
    bool pointer;
    char *offered; /* recipe of choices that were left unsaved last time, or NULL; owned */
    bool taken;    /* it has been loaded */
    char *loading; /* recipe that is loaded if the question about it is answered so; owned */
    size_t n_set;  /* --set texts that have been applied: tests of numbers wait for these */
};

/* --- what the loop is made of (app.c) --- */
/* Opens the pair app->path with app->options, the rest being zero; app_free is needed after a failure, too. */
enum qk_code app_open(struct app *app, struct qk_error *err);
void app_free(struct app *app);
/* Does what the keys mean that terminal_key has; what was typed ahead of a question is thrown away. */
unsigned app_take_keys(struct app *app);
/* Takes over what the session's threads have found. */
unsigned app_take_results(struct app *app);
/* Brings the rows up to date, draws if `refresh` is not REFRESH_NONE, and tells the session what is seen. */
void app_draw(struct app *app, unsigned refresh);

/* --- messages and questions (frame.c) --- */
void say(struct app *app, enum style style, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Says the error and returns REFRESH_FAILED | REFRESH_DRAW. */
unsigned say_error(struct app *app, const struct qk_error *err);
unsigned say_failure(struct app *app, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Asks on the last line; only "y" runs `answer`. What was typed ahead is thrown away. */
void ask(struct app *app, unsigned (*answer)(struct app *app), const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* --- drawing (frame.c) --- */
/* Lays out what a frame of the terminal's size shows now. Every frame is drawn from one layout, made before
 * anything of it is drawn, and keys act on one, whether or not it came to be drawn. */
void place_frame(struct app *app);
void draw_frame(const struct app *app);

/* --- dispatch.c --- */
/* Why the action cannot be done here and now, or NULL. */
const char *action_blocked(const struct app *app, enum action action);
/* False where no key, page or name shows it: what writes, under --readonly. */
bool action_exists(const struct app *app, enum action action);
unsigned run_action(struct app *app, enum action action, const char *argument);
/* The action that the key means here, or ACTION_NONE. */
enum action action_for_key(const struct app *app, int key);
/* Opens a prompt whose text becomes the argument of `action`. */
unsigned ask_argument(
    struct app *app, enum action action, const char *label, const char *initial, const char *note);
/* Gives a key to the open prompt. */
unsigned prompt_takes(struct app *app, int key);
/* --- complete.c --- */
/* The path that was typed, with "~" for the home folder; the caller frees. NULL: no memory. */
char *typed_path(const char *text);
/* Where the second of two names begins, which may be empty yet; NULL: the text is one name. Spaces belong to
 * a name as long as a file has it. */
const char *second_path(const char *text);
/* Completions for the action's argument; context is the app. */
prompt_completer complete_argument;

/* --- layers (detail.c, list.c) --- */
/* Scrolls the rows as the list would in a view of that area. */
void place_rows(struct app *app, struct area area);
const struct screen_ops *top_screen(const struct app *app);
void open_screen(struct app *app, const struct screen_ops *screen);
void close_screen(struct app *app);
/* Pair layer that is selected, or NULL when nothing is in view. */
const struct qk_pair_layer *selected_layer(const struct app *app);
/* Why the layer cannot be chosen, or NULL. */
const char *layer_obstacle(const struct qk_pair_layer *layer);
bool layer_kept(const struct app *app, int layer);
/* Heads of the selected layer, q's and k's together; 0 without. */
int head_columns(const struct app *app);
void place_detail(struct app *app, const struct canvas *canvas, struct area area);
void draw_detail(const struct app *app, struct canvas *canvas, struct area area);
void draw_choice(const struct app *app, struct canvas *canvas, struct area area);
/* Selects the head at that place of the screen, if one is there. */
void click_head(struct app *app, int y, int x);
/* Moves the selection of layers or heads. */
void move_layers(struct app *app, enum action action);

/* --- attention ranges (range.c, attention.c, run_probe.c) --- */
/* Widths of the list's cell of long mass: short numbers, and whole ones with and without current's. */
enum {
    TIGHT_REACH = 8,
    NARROW_REACH = 11,
    ROOMY_REACH = 16,
    SHIFT_CELLS = 6,
    LEAST_RANGES = 5,
    BOTH_RANGES = 9
};
#define RANGE_ADVICE "typed here as :states FILE, :ids FILE or :probe FILE"
/* True when a layer of the pair can have ranges. */
bool any_ranges(const struct app *app);
/* Why the layer has no ranges here and now, or NULL. */
const char *range_obstacle(const struct app *app, int layer);
void draw_reach(const struct app *app, struct canvas *canvas, struct area cell, int layer);
void draw_shift(const struct app *app, struct canvas *canvas, struct area cell, int layer);
/* Histograms of the layer, and of the selected head from BOTH_RANGES rows on; LEAST_RANGES at least. */
void draw_ranges(const struct app *app, struct canvas *canvas, struct area area);
/* The query head that the selected column stands for: a key head's first one. */
int range_head(const struct app *app);
void attention_free(struct app *app);
/* Takes over another probe, from its last token: nothing of the one before is looked at any more. */
void attention_sync(struct app *app);
/* Starts the default probe, once. */
void probe_start(struct app *app);
/* Starts the last probe again, if there was one. */
void probe_again(struct app *app);
/* Tells what became of the probe since the last call. */
void probe_tell(struct app *app);

/* --- run_evaluation.c --- */
/* True while cases are read or asked. */
bool evaluation_busy(const struct app *app);
/* Tells the end of a search that ended since the last call. */
void evaluation_tell(struct app *app);

/* --- front.c --- */
enum { MOST_EFFECTS = 2, EFFECT_CELLS = 7 };
/* How far a search is, its front as plot and list. */
void place_search(struct app *app, const struct canvas *canvas, struct area area);
void draw_search(const struct app *app, struct canvas *canvas, struct area area);
/* Goes to where the selected point is after the front changed. */
void find_point(struct app *app);
/* "searching 3:05 of 10:00"; nothing where none runs. */
void search_state(const struct app *app, char out[96]);
/* Columns of effects that the list can show; 0 until there are some. */
int effect_columns(const struct app *app);
void draw_effect_name(
    const struct app *app, struct canvas *canvas, struct area cell, int objective, enum style style);
/* What restoring q and k of the layer does to the objective, in points. */
void draw_effect(const struct app *app, struct canvas *canvas, struct area cell, int layer, int objective);

/* --- export.c --- */
enum qk_code export_init(struct app *app, struct qk_error *err);
void export_free(struct app *app);
/* Asks for the manifest again after an option or the selection changed. */
void export_manifest(struct app *app);
/* Tells the end of a task that ended since the last call. */
void export_tell(struct app *app);

#endif
