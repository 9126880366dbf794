/* dispatch.c - from keys and names to actions: preconditions in one place, handlers from the table. */
#include "ui/app.h"

#include <stdio.h>
#include <string.h>

static action_handler *const HANDLERS[ACTION_COUNT] = {
#define X(id, group, name, keys, rank, hint, help, argument, where, needs, run) run,
    QK_ACTIONS(X)
#undef X
};

/* --- what an action needs --- */

static const char *needs_qk(const struct app *app)
{
    int n = rows_targets(&app->rows, app->targets);
    for (int i = 0; i < n; i++)
        if (app->pair->layer[app->targets[i]].has_qk)
            return NULL;
    const char *obstacle = selected_layer(app) != NULL ? layer_obstacle(selected_layer(app)) : NULL;
    return obstacle != NULL ? obstacle : "no layer with q and k is selected";
}

static const char *needs_param(const struct app *app)
{
    int n = rows_targets(&app->rows, app->targets);
    for (int i = 0; i < n; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            if ((app->role < 0 || app->role == r) &&
                qk_mode_info(qk_session_selection(app->session)->choice[app->targets[i]][r].mode)->has_param)
                return NULL;
    return "this choice has no parameter: m goes on to a mode that has one";
}

static bool any_norm(const struct app *app)
{
    for (int i = 0; i < app->pair->n_layers; i++) {
        const struct qk_layer *post = app->pair->layer[i].side[QK_POST];
        if (post->role[QK_Q].norm != NULL || post->role[QK_K].norm != NULL)
            return true;
    }
    return false;
}

static const char *needs_unmet(const struct app *app, unsigned needs)
{
    const struct qk_task *task = qk_session_task(app->session);
    if ((needs & NEEDS_LAYER) && app->rows.selected < 0)
        return "no layer is selected";
    if ((needs & NEEDS_QK) && needs_qk(app) != NULL)
        return needs_qk(app);
    if ((needs & NEEDS_PARAM) && needs_param(app) != NULL)
        return needs_param(app);
    if ((needs & NEEDS_UNDO) && qk_session_undo_depth(app->session) == 0)
        return "nothing to undo";
    if ((needs & NEEDS_REDO) && qk_session_redo_depth(app->session) == 0)
        return "nothing to redo";
    if ((needs & NEEDS_SEARCH) && app->rows.search[0] == '\0')
        return "nothing has been searched for: / starts";
    if ((needs & NEEDS_NORM) && !any_norm(app))
        return "no layer has q/k norms";
    if ((needs & NEEDS_IDLE) && task->running)
        return task->kind == QK_TASK_EXPORT ? "an export is running: Esc stops it"
                                            : "a verification is running: Esc stops it";
    if ((needs & NEEDS_TASK) && !task->running)
        return "nothing is running";
    if ((needs & NEEDS_MANIFEST) && !app->export.has_manifest)
        return app->export.refused.text;
    if ((needs & NEEDS_EXPORTED) && !app->export.exported)
        return "there is no export at the target yet";
    if ((needs & NEEDS_RANGE) && selected_layer(app) == NULL)
        return "no layer is selected";
    if ((needs & NEEDS_RANGE) && range_obstacle(app, app->rows.selected) != NULL)
        return range_obstacle(app, app->rows.selected);
    if ((needs & NEEDS_PROBE) && !probe_busy(app))
        return "no pass over the probe text is running";
    const struct qk_search_state *found = qk_session_search_state(app->session);
    if ((needs & NEEDS_FRONT) && found->n_points == 0)
        return "no search has found a front yet: s begins one";
    if ((needs & NEEDS_NO_SEARCH) && found->stage == QK_SEARCH_RUNNING)
        return "a search is running: X stops it";
    if ((needs & NEEDS_A_SEARCH) && found->stage != QK_SEARCH_RUNNING)
        return "no search is running";
    return NULL;
}

const char *action_blocked(const struct app *app, enum action action, bool *hidden)
{
    unsigned needs = action_traits(action)->needs;
    *hidden = (needs & NEEDS_WRITE) && app->options->readonly;
    return *hidden ? "read-only: nothing is written" : needs_unmet(app, needs);
}

/* --- dispatch --- */

enum action action_for_key(const struct app *app, int key)
{
    enum action blocked = ACTION_NONE;
    for (int n = 0;; n++) {
        bool hidden;
        enum action action = action_of_key(key, top_screen(app)->where, n);
        if (action == ACTION_NONE)
            return blocked;
        if (action_blocked(app, action, &hidden) == NULL)
            return action;
        if (blocked == ACTION_NONE)
            blocked = action;
    }
}

unsigned run_action(struct app *app, enum action action, const char *argument)
{
    bool hidden;
    if ((action_traits(action)->where & top_screen(app)->where) == 0)
        return say_failure(app, "%s: not in this view", qk_action_info((int)action)->name);
    const char *why = action_blocked(app, action, &hidden);
    if (why != NULL)
        return say_failure(app, "%s: %s", qk_action_info((int)action)->name, why);
    return HANDLERS[action](app, action, argument) | REFRESH_DRAW;
}

/* --- prompts --- */

unsigned ask_argument(
    struct app *app, enum action action, const char *label, const char *initial, const char *note)
{
    app->prompt_action = action;
    app->prompt_selected = app->rows.selected;
    snprintf(app->prompt_before, sizeof app->prompt_before, "%s",
        action == ACTION_FILTER ? app->rows.filter : app->rows.search);
    prompt_open(&app->prompt, label, initial, note, &app->history[action]);
    return REFRESH_DRAW;
}

/* Search and filter show what they would do while it is typed. */
static unsigned preview(struct app *app)
{
    struct rows *rows = &app->rows;
    if (app->prompt_action == ACTION_FILTER) {
        snprintf(rows->filter, sizeof rows->filter, "%.*s", MATCH_TEXT - 1, app->prompt.text);
        rows->selected = app->prompt_selected; /* whatever half a word may have hidden */
        return REFRESH_ROWS | REFRESH_DRAW;
    }
    if (app->prompt_action != ACTION_SEARCH || (top_screen(app)->where & ON_LAYERS) == 0)
        return REFRESH_DRAW;
    snprintf(rows->search, sizeof rows->search, "%.*s", MATCH_TEXT - 1, app->prompt.text);
    rows->selected = app->prompt_selected;
    if (rows->search[0] != '\0')
        rows_find(rows, app->session, rows_at(rows), false);
    return REFRESH_DRAW;
}

static unsigned take_back_preview(struct app *app)
{
    struct rows *rows = &app->rows;
    if (app->prompt_action == ACTION_FILTER)
        snprintf(rows->filter, sizeof rows->filter, "%s", app->prompt_before);
    if (app->prompt_action == ACTION_SEARCH)
        snprintf(rows->search, sizeof rows->search, "%s", app->prompt_before);
    rows->selected = app->prompt_selected;
    return REFRESH_ROWS | REFRESH_DRAW;
}

static unsigned accept_prompt(struct app *app)
{
    char text[PROMPT_TEXT];
    enum action action = app->prompt_action;
    memcpy(text, app->prompt.text, sizeof text);
    app->message[0] = '\0';
    prompt_accept(&app->prompt);
    unsigned refresh = HANDLERS[action](app, action, text);
    if ((refresh & REFRESH_FAILED) == 0 || app->prompt.open)
        return refresh | REFRESH_DRAW;
    /* A mistake can be mended where it was made. */
    app->prompt.open = true;
    app->prompt.wrong = true;
    memcpy(app->prompt.note, app->message, sizeof app->prompt.note);
    return refresh | REFRESH_DRAW;
}

unsigned prompt_takes(struct app *app, int key)
{
    switch (prompt_key(&app->prompt, key, complete_argument, app)) {
    case PROMPT_CHANGED:
        return preview(app);
    case PROMPT_ACCEPTED:
        return accept_prompt(app);
    case PROMPT_CANCELLED:
        app->message[0] = '\0';
        return take_back_preview(app);
    default:
        return REFRESH_DRAW;
    }
}
