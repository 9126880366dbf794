/* app.c - the loop that waits, acts and draws, from opening the pair and the terminal to leaving both. */
#include "ui/app.h"

#include "base/mem.h"
#include "blend/spec.h"
#include "ui/dispatch.h"
#include "ui/frame.h"
#include "ui/key.h"
#include "ui/message.h"
#include "ui/preconditions.h"
#include "ui/screen.h"
#include "ui/terminal.h"
#include "ui/unsaved.h"
#include "ui/views/eval_view.h"
#include "ui/views/needles.h"
#include "ui/views/probe.h"

#include <stdlib.h>
#include <string.h>

enum { TICK_MILLISECONDS = 100 }; /* while an export, a verification, a probe or an evaluation runs */

/* --- the state --- */

const struct qk_pair_layer *selected_layer(const struct app *app)
{
    return app->rows.selected >= 0 ? &app->pair->layer[app->rows.selected] : NULL;
}

const char *layer_obstacle(const struct qk_pair_layer *layer)
{
    if (layer->problem != NULL)
        return layer->problem;
    return layer->has_qk ? NULL : "it has no q and k";
}

bool layer_kept(const struct app *app, int layer)
{
    return qk_layer_choice_keeps(&qk_session_selection(app->session)->choice[layer]);
}

const struct qk_layer_drift *model_drift(const struct app *app, int layer, bool current)
{
    if (!current || layer_kept(app, layer))
        return qk_session_drift(app->session, layer);
    const struct qk_current *now = qk_session_current(app->session, layer);
    return now != NULL ? &now->against[QK_PRE] : NULL;
}

/* --- start --- */

static enum qk_code start_order(struct app *app, struct qk_error *err)
{
    static const char NAMES[] = QK_COLUMN_NAMES;
    const char *sort = app->options->sort;
    app->rows.ordered = sort != NULL;
    if (sort != NULL && !column_parse(sort, &app->rows.sort))
        return qk_fail(err, QK_USAGE, "--sort: unknown column (found '%s', expected %.*s)", sort,
            (int)(sizeof NAMES - sizeof ", "), NAMES);
    return QK_OK;
}

static enum qk_code is_test(const char *text, bool *test, struct qk_error *err)
{
    struct qk_spec spec;
    QK_TRY(qk_spec_parse(text, &spec, err));
    *test = spec.selector == QK_SELECT_TEST || spec.selector == QK_SELECT_HEADS;
    qk_spec_free(&spec);
    return QK_OK;
}

/* Applies the options of the command line, as edits that can be undone. From the first test of numbers on, --set texts
 * wait until every number is known. Later ones win, so their order is kept. A mistake is reported at once. */
static enum qk_code start_choices(struct app *app, struct qk_error *err)
{
    const struct qk_ui_options *options = app->options;
    if (options->recipe != NULL)
        QK_TRY(qk_session_load_recipe(app->session, options->recipe, false, err));
    bool waits = false;
    for (size_t i = 0; i < options->n_set; i++) {
        bool test;
        QK_TRY(is_test(options->set[i], &test, err));
        waits = waits || test;
        if (waits)
            continue;
        QK_TRY(qk_session_set(app->session, options->set[i], NULL, err));
        app->n_set++;
    }
    return QK_OK;
}

static bool waits_for_needles(const struct app *app, const char *text)
{
    struct qk_spec spec;
    enum qk_needles_stage stage = qk_session_needles_state(app->session)->stage;
    if (qk_spec_parse(text, &spec, NULL) != QK_OK)
        return false; /* it fails below */
    bool heads = spec.selector == QK_SELECT_HEADS;
    qk_spec_free(&spec);
    return heads && ((stage == QK_NEEDLES_OFF && !app->options->no_needles) || stage == QK_NEEDLES_RUNNING);
}

static void set_what_waits(struct app *app)
{
    int done, total;
    qk_session_done(app->session, &done, &total);
    for (; app->n_set < app->options->n_set && done == total; app->n_set++) {
        if (waits_for_needles(app, app->options->set[app->n_set]))
            return;
        struct qk_error err = {0};
        if (qk_session_set(app->session, app->options->set[app->n_set], NULL, &err) != QK_OK)
            say_error(app, &err);
    }
}

enum qk_code app_open(struct app *app, struct qk_error *err)
{
    QK_TRY(qk_session_open(app->path[QK_PRE], app->path[QK_POST], app->options->threads, &app->session, err));
    app->pair = qk_session_pair(app->session);
    QK_TRY(rows_init(&app->rows, app->pair->n_layers, err));
    QK_TRY(qk_alloc(&app->targets, (size_t)app->pair->n_layers, sizeof *app->targets, err));
    for (int m = 0; m < QK_MODE_COUNT; m++)
        app->last_param[m] = qk_mode_info((enum qk_mode)m)->start;
    app->screen[app->depth++] = SCREEN_LIST;
    app->role = -1;
    QK_TRY(start_order(app, err));
    QK_TRY(screens_start(app, err));
    QK_TRY(start_choices(app, err));
    rows_update(&app->rows, app->session);
    return QK_OK;
}

void app_free(struct app *app)
{
    qk_session_close(app->session);
    rows_free(&app->rows);
    free(app->targets);
    free(app->offered);
    free(app->loading);
    screens_end(app);
    qk_lines_free(&app->messages);
    for (int i = 0; i < ACTION_COUNT; i++)
        qk_lines_free(&app->history[i]);
}

/* --- keys and pointer --- */

static bool too_small(void)
{
    return LINES < MIN_ROWS || COLS < MIN_COLUMNS;
}

static unsigned pointer_moved(struct app *app)
{
    struct pointer pointer = terminal_pointer();
    if (app->prompt.open || app->question[0] != '\0' || too_small())
        return REFRESH_NONE;
    if (app->menu.open)
        return pointer.kind == POINTER_PRESS  ? menu_pressed(app, pointer.y, pointer.x)
               : pointer.kind == POINTER_UP   ? menu_takes(app, KEY_OF_CURSES(KEY_UP))
               : pointer.kind == POINTER_DOWN ? menu_takes(app, KEY_OF_CURSES(KEY_DOWN))
                                              : REFRESH_NONE;
    switch (pointer.kind) {
    case POINTER_UP:
        return run_action(app, ACTION_UP, NULL);
    case POINTER_DOWN:
        return run_action(app, ACTION_DOWN, NULL);
    case POINTER_PRESS:
        break;
    default:
        return REFRESH_NONE;
    }
    if (pointer.y == app->footer_row) {
        for (int i = 0; i < app->n_hits; i++)
            if (pointer.x >= app->hit[i].x && pointer.x < app->hit[i].x + app->hit[i].width)
                return run_action(app, app->hit[i].action, NULL);
        return REFRESH_NONE;
    }
    if (top_ops(app)->click != NULL && top_ops(app)->click(app, pointer.y, pointer.x))
        return run_action(app, ACTION_OPEN, NULL);
    return REFRESH_DRAW;
}

/* Pasted text goes into a prompt, as one line; elsewhere its letters would act as keys. */
static unsigned text_pasted(struct app *app, int key)
{
    if (app->question[0] != '\0')
        return REFRESH_NONE;
    if (!app->prompt.open)
        return say_failure(app, "pasted text is not a command: paste it into a prompt");
    return key >= ' ' && key <= 0x10ffff ? prompt_takes(app, key) : REFRESH_NONE;
}

static unsigned key_pressed(struct app *app, int key)
{
    if (key == KEY_IGNORED)
        return REFRESH_NONE;
    app->touched = true;
    if (terminal_pasting())
        return text_pasted(app, key);
    if (key == KEY_POINTER)
        return pointer_moved(app);
    if (app->question[0] != '\0') {
        app->question[0] = '\0';
        app->message[0] = '\0';
        return key == 'y' || key == 'Y' ? app->answer(app) | REFRESH_DRAW : REFRESH_DRAW;
    }
    if (app->prompt.open)
        return prompt_takes(app, key);
    if (app->menu.open && !too_small())
        return menu_takes(app, key);
    app->message[0] = '\0';
    enum action action = action_for_key(app, key);
    /* The effects of other keys would not be visible. */
    if (too_small() && action != ACTION_CLOSE && action != ACTION_QUIT && action != ACTION_SUSPEND)
        return REFRESH_NONE;
    return action != ACTION_NONE ? run_action(app, action, NULL) : REFRESH_DRAW;
}

unsigned app_take_keys(struct app *app)
{
    unsigned refresh = REFRESH_NONE;
    for (int key = terminal_key(); key != 0 && (refresh & REFRESH_QUIT) == 0; key = terminal_key()) {
        place_frame(app); /* as if each key's frame had been drawn, even when keys come fast */
        bool asked = app->question[0] != '\0';
        refresh |= key_pressed(app, key);
        if (refresh & REFRESH_ROWS)
            rows_update(&app->rows, app->session);
        if (!asked && app->question[0] != '\0')
            terminal_drain(); /* keys typed before the question do not answer it */
    }
    return refresh;
}

/* --- the loop --- */

unsigned app_take_results(struct app *app)
{
    if (!qk_session_poll(app->session))
        return REFRESH_NONE;
    screens_report(app);
    set_what_waits(app);
    return REFRESH_ROWS | REFRESH_DRAW;
}

void app_draw(struct app *app, unsigned refresh)
{
    if (refresh & REFRESH_ROWS)
        rows_update(&app->rows, app->session);
    if (refresh & REFRESH_SCREEN)
        clearok(curscr, TRUE);
    if (refresh != REFRESH_NONE) {
        place_frame(app);
        draw_frame(app);
    }
    int first = app->rows.top, n = app->rows.n - first;
    n = n > app->rows.height ? app->rows.height : n;
    qk_session_want(app->session, app->rows.selected, app->rows.layer + first, n > 0 ? n : 0);
}

static enum qk_code loop(struct app *app, struct qk_error *err)
{
    unsigned refresh = REFRESH_DRAW;
    for (;;) {
        app_draw(app, refresh);
        probe_start(app);
        needles_start(app);
        bool busy = qk_session_task(app->session)->running || passes_run(app) || evaluation_busy(app);
        unsigned events = terminal_wait(qk_session_event_fd(app->session), busy ? TICK_MILLISECONDS : -1);
        refresh = REFRESH_NONE;
        if (events & EVENT_END)
            return qk_fail(err, QK_CANCELLED, "the screen was ended from outside");
        if (events & EVENT_RESIZED)
            refresh |= REFRESH_SCREEN;
        if (events & EVENT_SUSPEND) {
            terminal_suspend(false);
            refresh |= REFRESH_SCREEN;
        }
        if (events & EVENT_KEYS)
            refresh |= app_take_keys(app);
        if (refresh & REFRESH_QUIT)
            return QK_OK;
        if (busy || (events & EVENT_OTHER))
            refresh |= app_take_results(app);
    }
}

enum qk_code qk_ui_run(
    const char *pre, const char *post, const struct qk_ui_options *options, struct qk_error *err)
{
    struct app *app;
    QK_TRY(terminal_check(err));
    QK_TRY(qk_alloc(&app, 1, sizeof *app, err));
    app->path[QK_PRE] = pre;
    app->path[QK_POST] = post;
    app->options = options;
    enum qk_code code = app_open(app, err);
    if (code == QK_OK)
        code = terminal_start(err);
    bool started = code == QK_OK;
    if (started) {
        theme_start(&app->theme, options);
        say_notes(app);
        unsaved_offer(app);
        if (options->warning != NULL && options->warning[0] != '\0')
            say(app, STYLE_ERROR, "no number can be trusted: %s", options->warning);
        code = loop(app, err);
        /* Before anything that takes time: an export is not to end meanwhile. */
        qk_session_cancel(app->session);
        terminal_stop();
        unsaved_keep(app);
    }
    app_free(app);
    free(app);
    if (started)
        terminal_release();
    return code;
}
